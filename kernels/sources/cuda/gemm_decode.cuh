// What the decode GEMMs share: the fold of the warps' partial sums, the epilogues, the launch.
#pragma once

#include <type_traits>

#include "common.cuh"

namespace treadle {

enum Epilogue { kPlain, kAdd, kGate };

// Row of w that row g of this block's tile stands for, and the one eight further down the tile.
// With a gate, the upper half of a tile are gates and the lower half the ups that belong to them.
template <int kEpilogue>
__device__ inline int64_t upper_row(int g) {
  return int64_t{blockIdx.x} * (kEpilogue == kGate ? 8 : 16) + g;
}
template <int kEpilogue>
__device__ inline int64_t lower_row(int g, int N) {
  return upper_row<kEpilogue>(g) + (kEpilogue == kGate ? N : 8);
}

// Adds the partial sums of all warps, in their order, and writes y.
template <class T, int kTiles, int kWarps, int kEpilogue>
__device__ inline void finish_gemm(const float (&sum)[kTiles][4], T* y, const T* residual, int M,
                                   int N) {
  __shared__ float partial[kWarps][kTiles][128];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
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
  constexpr int kWidth = kEpilogue == kGate ? 8 : 16;  // outputs of a block in a row of y
  for (int i = threadIdx.x; i < kTiles * 8 * kWidth; i += kWarps * 32) {
    const int n = i % kWidth, m = i / kWidth % 8, tile = i / (kWidth * 8);
    if (tile * 8 + m >= M) continue;
    const int64_t at = int64_t{tile * 8 + m} * N + int64_t{blockIdx.x} * kWidth + n;
    float v = total(tile, m * 16 + n);
    if (kEpilogue == kAdd) v += to_float(residual[at]);
    if (kEpilogue == kGate) {  // both products are values of the graph: rounded as if stored
      const float gate = to_float(from_float<T>(v));
      v = gate / (1.f + __expf(-gate)) * to_float(from_float<T>(total(tile, m * 16 + n + 8)));
    }
    y[at] = from_float<T>(v);
  }
}

template <class T, class W>
struct GemmArgs {
  T* y;
  const T* x;
  const W* w;
  const T* residual;
  int M, N, K;
  int64_t x_stride;
};

// Launches Kernel<T, tiles of 8 rows of x, warps, epilogue>::run. `warps` 0 chooses: few blocks
// want many warps, thousands of blocks few (measured on an H200, bench_kernels_cuda.py).
template <template <class, int, int, int> class Kernel, class T, class W>
int launch_gemm(const GemmArgs<T, W>& a, int epilogue, int warps, int many, int overlap,
                cudaStream_t stream) {
  if (a.M < 0 || a.M > 16 || a.N % 16 || a.x_stride % 8 || epilogue < 0 || epilogue > 2 ||
      (epilogue == kAdd) != (a.residual != nullptr))
    return cudaErrorInvalidValue;
  if (a.M == 0 || a.N == 0) return cudaSuccess;
  const int blocks = a.N / (epilogue == kGate ? 8 : 16);
  if (warps == 0) warps = blocks >= many ? 4 : blocks <= 256 ? 16 : 8;
  auto go = [&](auto tiles, auto count, auto kind) {
    using K = Kernel<T, decltype(tiles)::value, decltype(count)::value, decltype(kind)::value>;
    return launch(K::run, dim3(blocks), dim3(decltype(count)::value * 32), 0, stream, overlap, a);
  };
  auto by_kind = [&](auto tiles, auto count) {
    if (epilogue == kGate) return go(tiles, count, std::integral_constant<int, kGate>());
    if (epilogue == kAdd) return go(tiles, count, std::integral_constant<int, kAdd>());
    return go(tiles, count, std::integral_constant<int, kPlain>());
  };
  auto by_warps = [&](auto tiles) -> int {
    if (warps == 4) return by_kind(tiles, std::integral_constant<int, 4>());
    if (warps == 8) return by_kind(tiles, std::integral_constant<int, 8>());
    if (warps == 16) return by_kind(tiles, std::integral_constant<int, 16>());
    return cudaErrorInvalidValue;
  };
  if (a.M <= 8) return by_warps(std::integral_constant<int, 1>());
  return by_warps(std::integral_constant<int, 2>());
}

}  // namespace treadle
