// y = gate(x wgᵀ) * (x wuᵀ)
#include "gated.h"

extern "C" int run(const DLTensor* x, const DLTensor* wg, const DLTensor* wu, const DLTensor* y,
                   void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1}) || !fits<Act>(wg, {-1, x->shape[1]})) return kBadTensor;
  const int64_t T = x->shape[0], D = x->shape[1], F = wg->shape[0];
  if (!fits<Act>(wu, {F, D}) || !fits<Act>(y, {T, F})) return kBadTensor;
  Act* to = out<Act>(y);
  gated(widened(in<Act>(x), T * D).data(), T, D, in<Act>(wg), in<Act>(wu), F,
        [=](int64_t t, int64_t f, float v) { put(to + t * F + f, v); });
  return 0;
}
