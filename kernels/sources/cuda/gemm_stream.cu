// y = x . w^T for up to 16 rows of x by blocks that stay on their multiprocessor: decode, where
// reading w once is the whole cost.
//
// A block walks over tiles of 16 rows of w. Its warps share out K, keep their part of x in
// registers, and reload a register of w as soon as it was used, so that all of a tile is always
// under way. A wide K is shared out to a cluster, whose blocks add up through their shared memory,
// in the order of their ranks. Bringing tiles into the L2 ahead of time was tried and lost.
//
// With `overlap` the first tile is asked for while the kernel before this one still works. That
// is right only where that kernel does not write w: `prepare` is what tells so.
#include <cooperative_groups.h>

#include "gemm_decode.cuh"

namespace treadle {

namespace cg = cooperative_groups;

constexpr int kStreamWarps = 8;
constexpr int kStep = 64;   // columns of w that a warp takes at a time
constexpr int kPitch = 20;  // floats from row to row of a partial tile: no two lanes in one bank
constexpr int kPartial = 8 * kPitch;
constexpr int kKept = 8;  // tiles whose sums a block of a cluster keeps until all have theirs

// When the next kernel may begin: when this one does, when its inputs are there, or when it ends.
// Until then the next one's blocks take no room from this one's neighbours.
enum Release { kAtOnce, kWithInputs, kAtEnd };

// up: the second matrix of a gate, else w.
template <class T>
struct StreamArgs {
  T* y;
  const T *x, *w, *up, *residual;
  int M, N, K, splits;
  Release release;
};

// Writes one tile of y. total(m, n): the sum for row m of x and row n of the tile of w.
template <class T, int kTiles, int kEpilogue, class Total>
__device__ inline void write_tile(Total total, int64_t which, T* y, const T* residual, int M,
                                  int N) {
  constexpr int kWidth = kEpilogue == kGate ? 8 : 16;  // outputs of a tile in a row of y
  for (int i = threadIdx.x; i < kTiles * 8 * kWidth; i += kStreamWarps * 32) {
    const int n = i % kWidth, m = i / kWidth;
    if (m >= M) continue;
    const int64_t at = int64_t{m} * N + which * kWidth + n;
    float v = total(m, n);
    if (kEpilogue == kAdd) v += to_float(residual[at]);
    if (kEpilogue == kGate) {  // both products are values of the graph: rounded as if stored
      const float gate = to_float(from_float<T>(v));
      v = gate / (1.f + __expf(-gate)) * to_float(from_float<T>(total(m, n + 8)));
    }
    y[at] = from_float<T>(v);
  }
}

template <class T, int kTiles, int kEpilogue, int kSteps, bool kSplit>
__global__ void __launch_bounds__(kStreamWarps * 32) __maxnreg__(kTiles* kSteps > 4 ? 168 : 128)
    gemm_stream_kernel(StreamArgs<T> a) {
  __shared__ float partial[2][kStreamWarps][kTiles * kPartial];
  __shared__ float folded[kSplit ? kKept : 1][kTiles * 128];
  constexpr int kDepth = kStreamWarps * kSteps * kStep;  // columns of a block
  constexpr int kWidth = kEpilogue == kGate ? 8 : 16;    // outputs of a tile in a row of y
  if (a.release == kAtOnce) release_successor();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int rank = kSplit ? static_cast<int>(blockIdx.x) % a.splits : 0;
  const int first = kSplit ? static_cast<int>(blockIdx.x) / a.splits : static_cast<int>(blockIdx.x);
  const int stride = kSplit ? static_cast<int>(gridDim.x) / a.splits : static_cast<int>(gridDim.x);
  const int tiles = a.N / kWidth;
  const int64_t pitch = int64_t{kWidth} * a.K;
  const T* below = kEpilogue == kGate ? a.up : a.w + int64_t{8} * a.K;
  const int column = rank * kDepth + warp * kSteps * kStep + t * 8;
  const T* upper = a.w + int64_t{g} * a.K + column;
  const T* lower = below + int64_t{g} * a.K + column;

  uint4 ring[kSteps][2][2];  // [step][half of its columns][upper, lower]
  if (first < tiles) {
#pragma unroll
    for (int i = 0; i < kSteps * 2; i++) {
      ring[i / 2][i % 2][0] = load_stream(upper + first * pitch + i * 32);
      ring[i / 2][i % 2][1] = load_stream(lower + first * pitch + i * 32);
    }
  }
  await_inputs();
  if (a.release == kWithInputs) release_successor();

  uint4 x[kSteps][2][kTiles];
#pragma unroll
  for (int i = 0; i < kSteps * 2; i++)
#pragma unroll
    for (int tile = 0; tile < kTiles; tile++) {
      x[i / 2][i % 2][tile] = {0, 0, 0, 0};
      if (tile * 8 + g < a.M)
        x[i / 2][i % 2][tile] = load16(a.x + int64_t{tile * 8 + g} * a.K + column + i * 32);
    }

  int buffer = 0, kept = 0;
  for (int at = first; at < tiles; at += stride, buffer ^= 1) {
    const bool more = at + stride < tiles;
    const T* next_upper = upper + (at + stride) * pitch;
    const T* next_lower = lower + (at + stride) * pitch;
    float sum[kTiles][4] = {};
#pragma unroll
    for (int i = 0; i < kSteps * 2; i++) {
      const uint4 p = ring[i / 2][i % 2][0], q = ring[i / 2][i % 2][1];
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++) {
        const uint4 v = x[i / 2][i % 2][tile];
        mma<T>(sum[tile], p.x, q.x, p.y, q.y, v.x, v.y);
        mma<T>(sum[tile], p.z, q.z, p.w, q.w, v.z, v.w);
      }
      if (more) {
        ring[i / 2][i % 2][0] = load_stream(next_upper + i * 32);
        ring[i / 2][i % 2][1] = load_stream(next_lower + i * 32);
      }
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; tile++) {  // [column m of 8][row n of 16]
      float* slot = partial[buffer][warp] + tile * kPartial + g;
      slot[2 * t * kPitch] = sum[tile][0];
      slot[(2 * t + 1) * kPitch] = sum[tile][1];
      slot[2 * t * kPitch + 8] = sum[tile][2];
      slot[(2 * t + 1) * kPitch + 8] = sum[tile][3];
    }
    // Two buffers are enough: who fills one again has passed the barrier of the tile between, and
    // all others came there after they had read it.
    __syncthreads();
    auto own = [&](int m, int n) {  // of this block, its warps in order
      float v = 0.f;
#pragma unroll
      for (int i = 0; i < kStreamWarps; i++) v += partial[buffer][i][m * kPitch + n];
      return v;
    };
    if constexpr (kSplit) {
      for (int i = threadIdx.x; i < kTiles * 128; i += kStreamWarps * 32)
        folded[kept][i] = own(i / 16, i % 16);
      kept++;
      if (more && kept < kKept) continue;
      cg::cluster_group cluster = cg::this_cluster();
      cluster.sync();
      for (int j = rank; j < kept; j += a.splits)  // they share out the tiles
        write_tile<T, kTiles, kEpilogue>(
            [&](int m, int n) {
              float v = 0.f;
              for (int r = 0; r < a.splits; r++)
                v += *cluster.map_shared_rank(&folded[j][m * 16 + n], r);
              return v;
            },
            at - (kept - 1 - j) * stride, a.y, a.residual, a.M, a.N);
      cluster.sync();  // nobody leaves or goes on whose sums are being read
      kept = 0;
    } else {
      write_tile<T, kTiles, kEpilogue>(own, at, a.y, a.residual, a.M, a.N);
    }
  }
}

// How many clusters of `cluster` blocks without dynamic shared memory the device holds at once,
// with at most `per_sm` blocks a multiprocessor.
template <class... Params>
int resident_clusters(int* found, void (*kernel)(Params...), dim3 block, int cluster, int per_sm) {
  int device = 0, processors = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (status != cudaSuccess) return status;
  *found = processors * per_sm / cluster;
  if (cluster == 1) return cudaSuccess;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(cluster);
  config.blockDim = block;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  config.attrs = &attribute;
  config.numAttrs = 1;
  int room = 0;
  status = cudaOccupancyMaxActiveClusters(&room, kernel, &config);
  if (room < *found) *found = room;
  return status != cudaSuccess ? status : room > 0 ? cudaSuccess : cudaErrorInvalidConfiguration;
}

// x [M, K], w (and up) [N, K], residual and y [M, N], all dense; M <= 16, N % 16 == 0, K % 1024 ==
// 0, at most 8 x 2048 columns, or 7 x 1024. overlap: w is read before the kernel ahead has ended.
//
// Chosen by whole decode steps of Llama-3.2-1B's shape on an H200, where kernels meet others than
// themselves: when the next one is released; and the share of shared memory asked for, since a
// multiprocessor that changes it first runs empty, which costs what the overlap gains.
template <class T, int kEpilogue>
int gemm_stream(T* y, const T* x, const T* w, const T* up, const T* residual, int M, int N, int K,
                bool overlap, cudaStream_t stream) {
  constexpr int kDeep = kStreamWarps * 4 * kStep;
  const int depth = K % kDeep ? kDeep / 2 : kDeep, splits = K / depth;
  if (M < 0 || M > 16 || N % 16 || K % depth || splits < 1 || splits > 8 ||
      (kEpilogue == kAdd) != (residual != nullptr))
    return cudaErrorInvalidValue;
  if (M == 0 || N == 0) return cudaSuccess;
  const int tiles = N / (kEpilogue == kGate ? 8 : 16);
  const Release release = kEpilogue != kPlain ? kAtOnce : M <= 8 ? kWithInputs : kAtEnd;
  const StreamArgs<T> a{y, x, w, up, residual, M, N, K, splits, release};
  auto go = [&](auto rows, auto steps, auto split) -> int {
    constexpr int kTiles = decltype(rows)::value, kSteps = decltype(steps)::value;
    const auto kernel = gemm_stream_kernel<T, kTiles, kEpilogue, kSteps, decltype(split)::value>;
    if (kEpilogue != kPlain) {
      const cudaError_t status =
          cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 28);
      if (status != cudaSuccess) return status;
    }
    const dim3 block(kStreamWarps * 32);
    const int per_sm = kTiles * kSteps > 4 ? 1 : 2;  // what their registers leave room for
    int room = 0;
    if (const int status = resident_clusters(&room, kernel, block, splits, per_sm)) return status;
    return launch_clusters(kernel, dim3((tiles < room ? tiles : room) * splits), block, 0, stream,
                           overlap, splits, a);
  };
  auto by_split = [&](auto rows, auto steps) {
    if (splits > 1) return go(rows, steps, std::true_type());
    return go(rows, steps, std::false_type());
  };
  auto by_depth = [&](auto rows) {
    if (depth == kDeep) return by_split(rows, std::integral_constant<int, 4>());
    return by_split(rows, std::integral_constant<int, 2>());
  };
  if (M <= 8) return by_depth(std::integral_constant<int, 1>());
  return by_depth(std::integral_constant<int, 2>());
}

}  // namespace treadle
