// sum = x + y, normed = rmsnorm(sum) * weight with a float32 weight; the norm is of the stored sum.
#include "constants.h"
#include "dltensor.h"
#include "rmsnorm.cu"

extern "C" int run(const DLTensor* x, const DLTensor* y, const DLTensor* w, const DLTensor* sum,
                   const DLTensor* normed, void* stream) {
  using namespace treadle;
  if (!is_bf16(x, 2) || !is_bf16(y, 2) || !is(w, 2, 32, 1) || !is_bf16(sum, 2) ||
      !is_bf16(normed, 2))
    return kBadTensor;
  const int T = x->shape[0], D = x->shape[1];
  return treadle_rmsnorm_bf16(at(normed), at(sum), at(x), at(y), at(w), T, D, D, TREADLE_EPS, 1, 1,
                              0, static_cast<cudaStream_t>(stream));
}
