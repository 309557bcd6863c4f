// What the bindings of gemm_stream share: what `prepare` makes of weights, and pieces of 16 rows.
//
// Nothing is copied. To have been prepared says that no kernel in flight writes the weights, so
// that `run_prepared` may read them before the kernel ahead of it has ended; `run` may not.
#include "dltensor.h"
#include "gemm_stream.cu"

namespace treadle {

struct Streamed {
  const bf16 *w, *up;
  int N, K;
};

inline int stream_of(Streamed* made, const DLTensor* w, const DLTensor* up) {
  if (!is_bf16(w, 2) || !is_bf16(up, 2) || up->shape[0] != w->shape[0] ||
      up->shape[1] != w->shape[1])
    return kBadTensor;
  *made = {static_cast<const bf16*>(at(w)), static_cast<const bf16*>(at(up)),
           static_cast<int>(w->shape[0]), static_cast<int>(w->shape[1])};
  return 0;
}

inline int stream_prepared(const DLTensor* w, const DLTensor* up, void** made) {
  Streamed one;
  if (const int status = stream_of(&one, w, up)) return status;
  *made = new Streamed(one);
  return 0;
}

// residual may be null.
template <int kEpilogue>
int streamed(const DLTensor* x, const Streamed& w, const DLTensor* residual, const DLTensor* y,
             bool constant, void* stream) {
  if (!is_bf16(x, 2) || !is_bf16(y, 2) || (residual && !is_bf16(residual, 2)) ||
      x->shape[1] != w.K || y->shape[1] != w.N)
    return kBadTensor;
  const int64_t rows = x->shape[0];
  for (int64_t m = 0; m < rows; m += 16) {
    const int M = rows - m < 16 ? rows - m : 16;
    const bf16* more = residual ? static_cast<const bf16*>(at(residual)) + m * w.N : nullptr;
    const int status = gemm_stream<bf16, kEpilogue>(
        static_cast<bf16*>(at(y)) + m * w.N, static_cast<const bf16*>(at(x)) + m * w.K, w.w, w.up,
        more, M, w.N, w.K, constant, static_cast<cudaStream_t>(stream));
    if (status) return status;
  }
  return 0;
}

}  // namespace treadle

extern "C" void release(void* made) {
  delete static_cast<treadle::Streamed*>(made);
}
