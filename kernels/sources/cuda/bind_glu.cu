// y = silu(g) * u.
#include "dltensor.h"
#include "silu_and_mul.cu"

extern "C" int run(const DLTensor* g, const DLTensor* u, const DLTensor* y, void* stream) {
  using namespace treadle;
  if (!is_bf16(g, 2) || !is_bf16(u, 2) || !is_bf16(y, 2)) return kBadTensor;
  return treadle_silu_and_mul_bf16(at(y), at(g), at(u), g->shape[0], g->shape[1], g->shape[1], 0,
                                   static_cast<cudaStream_t>(stream));
}
