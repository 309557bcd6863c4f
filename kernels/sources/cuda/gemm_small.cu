// y = x . w^T for up to 16 rows of x: decode, where reading w once is the whole cost.
//
// Tensor cores with w as the left operand: 16 rows of w a block, K dealt to the warps, no shared
// memory on the way. A lane reads 16 contiguous bytes of a row and takes them as its share of two
// k-steps; x is read with the same permutation of k, so the sum is over the same pairs. Rings of
// asynchronous copies in shared memory were tried and lost: fewer warps fit.
#include "gemm_decode.cuh"

namespace treadle {

template <class T, int kTiles, int kWarps, int kEpilogue>
__global__ void __launch_bounds__(kWarps * 32) gemm_small_kernel(GemmArgs<T, T> a) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const T* upper = a.w + upper_row<kEpilogue>(g) * a.K + t * 8;
  const T* lower = a.w + lower_row<kEpilogue>(g, a.N) * a.K + t * 8;
  const int steps = a.K / 64;

  uint4 now[2][2], next[2][2];  // [half of the 64 columns][upper, lower]
  auto read = [&](uint4(&into)[2][2], int step) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      into[half][0] = load_stream(upper + step * 64 + half * 32);
      into[half][1] = load_stream(lower + step * 64 + half * 32);
    }
  };
  if (warp < steps) read(now, warp);  // w is constant: before the inputs exist
  await_inputs();
  release_successor();

  float sum[kTiles][4] = {};
  for (int step = warp; step < steps; step += kWarps) {
    if (step + kWarps < steps) read(next, step + kWarps);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const uint4 p = now[half][0], q = now[half][1];
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++) {
        uint4 v = {0, 0, 0, 0};
        if (tile * 8 + g < a.M)
          v = load16(a.x + (tile * 8 + g) * a.x_stride + step * 64 + half * 32 + t * 8);
        mma<T>(sum[tile], p.x, q.x, p.y, q.y, v.x, v.y);
        mma<T>(sum[tile], p.z, q.z, p.w, q.w, v.z, v.w);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) now[half][0] = next[half][0], now[half][1] = next[half][1];
  }
  finish_gemm<T, kTiles, kWarps, kEpilogue>(sum, a.y, a.residual, a.M, a.N);
}

template <class T, int kTiles, int kWarps, int kEpilogue>
struct GemmSmall {
  static constexpr auto run = gemm_small_kernel<T, kTiles, kWarps, kEpilogue>;
};

template <class T>
int gemm_small(void* y, const void* x, const void* w, const void* residual, int M, int N, int K,
               int64_t x_stride, int epilogue, int warps, int overlap, cudaStream_t stream) {
  if (K % 64) return cudaErrorInvalidValue;
  const GemmArgs<T, T> args{static_cast<T*>(y),
                            static_cast<const T*>(x),
                            static_cast<const T*>(w),
                            static_cast<const T*>(residual),
                            M,
                            N,
                            K,
                            x_stride};
  return launch_gemm<GemmSmall>(args, epilogue, warps, 1025, overlap, stream);
}

}  // namespace treadle

// x [M, K] with row stride, w [N, K], y [M, N]; M <= 16, N % 16 == 0, K % 64 == 0.
// epilogue 0: y = x.w^T; 1: + residual [M, N]; 2: w is [2N, K], gates first: y = silu(gate) * up.
// warps: 4, 8 or 16 a block; 0 chooses.
extern "C" int treadle_gemm_small_bf16(void* y, const void* x, const void* w, const void* residual,
                                       int M, int N, int K, int64_t x_stride, int epilogue,
                                       int warps, int overlap, cudaStream_t stream) {
  return treadle::gemm_small<treadle::bf16>(y, x, w, residual, M, N, K, x_stride, epilogue, warps,
                                            overlap, stream);
}
extern "C" int treadle_gemm_small_f16(void* y, const void* x, const void* w, const void* residual,
                                      int M, int N, int K, int64_t x_stride, int epilogue,
                                      int warps, int overlap, cudaStream_t stream) {
  return treadle::gemm_small<treadle::f16>(y, x, w, residual, M, N, K, x_stride, epilogue, warps,
                                           overlap, stream);
}
