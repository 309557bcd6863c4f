// C[M, N] = A[M, K] . B^T in bfloat16 with B in w4g32; more than 16 rows go in pieces of 16.
#include "dltensor.h"
#include "gemm_w4g32.cu"

extern "C" int run(const DLTensor* a, const DLTensor* b, const DLTensor* c, void* stream) {
  using namespace treadle;
  if (!is_bf16(a, 2) || !is(b, 0, 8, 2) || !is_bf16(c, 2)) return kBadTensor;
  const int64_t rows = a->shape[0];
  const int K = a->shape[1], N = b->shape[0];
  if (b->shape[1] != K / 2 + K / 16) return kBadTensor;
  for (int64_t m = 0; m < rows; m += 16) {
    const int M = rows - m < 16 ? rows - m : 16;
    char* y = static_cast<char*>(at(c)) + 2 * m * N;
    const char* x = static_cast<const char*>(at(a)) + 2 * m * K;
    const int status = treadle_gemm_w4g32_bf16(y, x, at(b), nullptr, M, N, K, K, 0, 0, 0,
                                               static_cast<cudaStream_t>(stream));
    if (status) return status;
  }
  return 0;
}
