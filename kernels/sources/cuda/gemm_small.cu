// y = x . w^T for up to 16 rows of x: decode, where reading w once is the whole cost.
//
// Tensor cores with w as the left operand: 16 rows of w a block, K dealt to the warps, no shared
// memory on the way. A lane reads 16 contiguous bytes of a row and takes them as its share of two
// k-steps; x is read with the same permutation of k, so the sum is over the same pairs.
#include "common.cuh"

namespace treadle {

enum Epilogue { kPlain, kAdd, kGate };

template <int kSteps>
struct Weights {
  uint4 bits[kSteps][2][2];  // [step][half of the 64 columns][row g, row g + 8]
};

template <class T, int kTiles, int kWarps, int kSteps, int kEpilogue>
__global__ void __launch_bounds__(kWarps * 32)
    gemm_small_kernel(T* y, const T* x, const T* w, const T* residual, int M, int N, int K,
                      int64_t x_stride) {
  __shared__ float partial[kWarps][kTiles][128];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // With a gate, rows g of the tile are gates and rows g + 8 the ups that belong to them.
  const int64_t row = kEpilogue == kGate ? blockIdx.x * 8 + g : blockIdx.x * 16 + g;
  const int64_t below = kEpilogue == kGate ? row + N : row + 8;
  const T* low = w + row * K + t * 8;
  const T* high = w + below * K + t * 8;
  const int steps = K / 64;

  auto read = [&](Weights<kSteps>& into, int first) {
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
      const int step = first + s * kWarps;
      if (step < steps) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          into.bits[s][half][0] = load_stream(low + step * 64 + half * 32);
          into.bits[s][half][1] = load_stream(high + step * 64 + half * 32);
        }
      }
    }
  };

  Weights<kSteps> now, next;
  read(now, warp);
  await_inputs();
  release_successor();

  float sum[kTiles][4] = {};
  for (int first = warp; first < steps; first += kWarps * kSteps) {
    if (first + kWarps * kSteps < steps) read(next, first + kWarps * kSteps);
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
      const int step = first + s * kWarps;
      if (step < steps) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const uint4 a = now.bits[s][half][0], b = now.bits[s][half][1];
#pragma unroll
          for (int tile = 0; tile < kTiles; tile++) {
            uint4 v = {0, 0, 0, 0};
            if (tile * 8 + g < M)
              v = load16(x + (tile * 8 + g) * x_stride + step * 64 + half * 32 + t * 8);
            mma<T>(sum[tile], a.x, b.x, a.y, b.y, v.x, v.y);
            mma<T>(sum[tile], a.z, b.z, a.w, b.w, v.z, v.w);
          }
        }
      }
    }
    now = next;
  }

#pragma unroll
  for (int tile = 0; tile < kTiles; tile++) {  // [column m of 8][row n of 16]
    float* slot = partial[warp][tile];
    slot[(2 * t) * 16 + g] = sum[tile][0];
    slot[(2 * t + 1) * 16 + g] = sum[tile][1];
    slot[(2 * t) * 16 + g + 8] = sum[tile][2];
    slot[(2 * t + 1) * 16 + g + 8] = sum[tile][3];
  }
  __syncthreads();
  auto total = [&](int tile, int at) {
    float v = 0.f;
#pragma unroll
    for (int i = 0; i < kWarps; i++) v += partial[i][tile][at];
    return v;
  };
  if (kEpilogue == kGate) {
    for (int i = threadIdx.x; i < kTiles * 64; i += kWarps * 32) {
      const int tile = i / 64, m = i / 8 % 8, n = i % 8;
      if (tile * 8 + m >= M) continue;
      // The two products are values of the graph: rounded as if stored.
      const float gate = to_float(from_float<T>(total(tile, m * 16 + n)));
      const float up = to_float(from_float<T>(total(tile, m * 16 + n + 8)));
      y[int64_t{tile * 8 + m} * N + blockIdx.x * 8 + n] =
          from_float<T>(gate / (1.f + __expf(-gate)) * up);
    }
  } else {
    for (int i = threadIdx.x; i < kTiles * 128; i += kWarps * 32) {
      const int tile = i / 128, m = i / 16 % 8, n = i % 16;
      if (tile * 8 + m >= M) continue;
      const int64_t at = int64_t{tile * 8 + m} * N + blockIdx.x * 16 + n;
      float v = total(tile, m * 16 + n);
      if (kEpilogue == kAdd) v += to_float(residual[at]);
      y[at] = from_float<T>(v);
    }
  }
}

template <class T, int kWarps, int kSteps>
int gemm_small(void* y, const void* x, const void* w, const void* residual, int M, int N, int K,
               int64_t x_stride, int epilogue, int overlap, cudaStream_t stream) {
  auto go = [&](auto kernel, int rows) {
    return launch(kernel, dim3(N / rows), dim3(kWarps * 32), 0, stream, overlap,
                  static_cast<T*>(y), static_cast<const T*>(x), static_cast<const T*>(w),
                  static_cast<const T*>(residual), M, N, K, x_stride);
  };
  if (M <= 8) {
    if (epilogue == kGate) return go(gemm_small_kernel<T, 1, kWarps, kSteps, kGate>, 8);
    if (epilogue == kAdd) return go(gemm_small_kernel<T, 1, kWarps, kSteps, kAdd>, 16);
    return go(gemm_small_kernel<T, 1, kWarps, kSteps, kPlain>, 16);
  }
  if (epilogue == kGate) return go(gemm_small_kernel<T, 2, kWarps, kSteps, kGate>, 8);
  if (epilogue == kAdd) return go(gemm_small_kernel<T, 2, kWarps, kSteps, kAdd>, 16);
  return go(gemm_small_kernel<T, 2, kWarps, kSteps, kPlain>, 16);
}

template <class T>
int gemm_small(void* y, const void* x, const void* w, const void* residual, int M, int N, int K,
               int64_t x_stride, int epilogue, int variant, int overlap, cudaStream_t stream) {
  if (M < 0 || M > 16 || N % 16 || K % 64 || x_stride % 8 || epilogue < 0 || epilogue > 2 ||
      (epilogue == kAdd) != (residual != nullptr))
    return cudaErrorInvalidValue;
  if (M == 0 || N == 0) return cudaSuccess;
  if (variant < 0) variant = K <= 2048 ? 4 : 2;
  switch (variant) {
#define TREADLE_VARIANT(id, warps, steps)                                                     \
  case id:                                                                                    \
    return gemm_small<T, warps, steps>(y, x, w, residual, M, N, K, x_stride, epilogue, overlap, \
                                       stream);
    TREADLE_VARIANT(0, 4, 1)
    TREADLE_VARIANT(1, 4, 2)
    TREADLE_VARIANT(2, 8, 1)
    TREADLE_VARIANT(3, 8, 2)
    TREADLE_VARIANT(4, 16, 1)
    TREADLE_VARIANT(5, 16, 2)
#undef TREADLE_VARIANT
  }
  return cudaErrorInvalidValue;
}

}  // namespace treadle

// x [M, K] with row stride, w [N, K], y [M, N]; M <= 16, N % 16 == 0, K % 64 == 0.
// epilogue 0: y = x.w^T; 1: + residual [M, N]; 2: w is [2N, K], gates first: y = silu(gate) * up.
// variant: warps and steps in flight; -1 chooses.
extern "C" int treadle_gemm_small_bf16(void* y, const void* x, const void* w, const void* residual,
                                       int M, int N, int K, int64_t x_stride, int epilogue,
                                       int variant, int overlap, cudaStream_t stream) {
  return treadle::gemm_small<treadle::bf16>(y, x, w, residual, M, N, K, x_stride, epilogue, variant,
                                            overlap, stream);
}
extern "C" int treadle_gemm_small_f16(void* y, const void* x, const void* w, const void* residual,
                                      int M, int N, int K, int64_t x_stride, int epilogue,
                                      int variant, int overlap, cudaStream_t stream) {
  return treadle::gemm_small<treadle::f16>(y, x, w, residual, M, N, K, x_stride, epilogue, variant,
                                           overlap, stream);
}
