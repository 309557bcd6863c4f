// C = A Bᵀ
#include "linear.h"

extern "C" int run(const DLTensor* a, const DLTensor* b, const DLTensor* c, void*) {
  using namespace treadle;
  if (!fits<Act>(a, {-1, -1}) || !fits<Act>(b, {-1, a->shape[1]})) return kBadTensor;
  const int64_t M = a->shape[0], K = a->shape[1], N = b->shape[0];
  if (!fits<Act>(c, {M, N})) return kBadTensor;
  linear_to(widened(in<Act>(a), M * K).data(), M, K, in<Act>(b), N, out<Act>(c));
  return 0;
}
