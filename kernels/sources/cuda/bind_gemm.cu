// C[M, N] = A[M, K] . B[N, K]^T in float16 or bfloat16; more than 16 rows go in pieces of 16.
#include "dltensor.h"
#include "gemm_small.cu"

extern "C" int run(const DLTensor* a, const DLTensor* b, const DLTensor* c, void* stream) {
  using namespace treadle;
  const bool half = is(a, 2, 16, 2);
  auto fits = [&](const DLTensor* t) { return half ? is(t, 2, 16, 2) : is_bf16(t, 2); };
  if (!fits(a) || !fits(b) || !fits(c)) return kBadTensor;
  const int64_t rows = a->shape[0];
  const int K = a->shape[1], N = b->shape[0];
  for (int64_t m = 0; m < rows; m += 16) {
    const int M = rows - m < 16 ? rows - m : 16;
    char* y = static_cast<char*>(at(c)) + 2 * m * N;
    const char* x = static_cast<const char*>(at(a)) + 2 * m * K;
    auto* call = half ? treadle_gemm_small_f16 : treadle_gemm_small_bf16;
    const int status =
        call(y, x, at(b), nullptr, M, N, K, K, 0, 0, 0, static_cast<cudaStream_t>(stream));
    if (status) return status;
  }
  return 0;
}
