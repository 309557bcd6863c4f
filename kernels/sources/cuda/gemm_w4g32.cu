// y = x . w^T for up to 16 rows of x and 4-bit weights in groups of 32 (w4g32).
//
// A row of w holds K/2 bytes of codes, then K/32 float16 scales; w = (code - 8) * scale. Codes are
// stored in the order of use: of 128 columns, lane t of four owns 16 bytes, 4 of each group; those
// 4 bytes hold columns 8t .. 8t+7 of the group, column 2j in nibble j and 2j+1 in nibble j + 4.
// Codes are exact in the type of x, products are summed in float32 and scaled once a group, so the
// only rounding is that of float32 sums and of the result.
#include "common.cuh"

namespace treadle {

enum Epilogue { kPlain, kAdd, kGate };

// Two codes (nibbles j and j + 4 of `word`) as a pair of T with values code - 8, exactly.
template <class T>
__device__ inline uint32_t codes(uint32_t word, int j);
template <>
__device__ inline uint32_t codes<bf16>(uint32_t word, int j) {
  const uint32_t bits = ((word >> (4 * j)) & 0x000f000fu) | 0x43004300u;  // 128 + code
  __nv_bfloat162 v = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&bits),
                             __nv_bfloat162{__ushort_as_bfloat16(0x4308), __ushort_as_bfloat16(0x4308)});
  return *reinterpret_cast<uint32_t*>(&v);
}
template <>
__device__ inline uint32_t codes<f16>(uint32_t word, int j) {
  const uint32_t bits = ((word >> (4 * j)) & 0x000f000fu) | 0x64006400u;  // 1024 + code
  __half2 v = __hsub2(*reinterpret_cast<const __half2*>(&bits),
                      __half2{__ushort_as_half(0x6408), __ushort_as_half(0x6408)});
  return *reinterpret_cast<uint32_t*>(&v);
}

struct Step {  // 128 columns of rows g and g + 8: codes and the scales of four groups
  uint4 low, high;
  uint2 low_scale, high_scale;
};

template <class T, int kTiles, int kWarps, int kSteps, int kEpilogue>
__global__ void __launch_bounds__(kWarps * 32)
    gemm_w4g32_kernel(T* y, const T* x, const uint8_t* w, const T* residual, int M, int N, int K,
                      int64_t x_stride) {
  __shared__ float partial[kWarps][kTiles][128];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int64_t row = kEpilogue == kGate ? blockIdx.x * 8 + g : blockIdx.x * 16 + g;
  const int64_t below = kEpilogue == kGate ? row + N : row + 8;
  const int64_t bytes = K / 2 + K / 16;
  const uint8_t *low = w + row * bytes, *high = w + below * bytes;
  const int steps = K / 128;

  auto read = [&](Step (&into)[kSteps], int first) {
#pragma unroll
    for (int s = 0; s < kSteps; s++) {
      const int step = first + s * kWarps;
      if (step < steps) {
        into[s].low = load_stream(low + step * 64 + t * 16);
        into[s].high = load_stream(high + step * 64 + t * 16);
        into[s].low_scale = load_stream8(low + K / 2 + step * 8);
        into[s].high_scale = load_stream8(high + K / 2 + step * 8);
      }
    }
  };

  Step now[kSteps], next[kSteps];
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
        for (int group = 0; group < 4; group++) {
          const uint32_t a = (&now[s].low.x)[group], b = (&now[s].high.x)[group];
          const float2 ls = Pair<f16>::wide((&now[s].low_scale.x)[group / 2]);
          const float2 hs = Pair<f16>::wide((&now[s].high_scale.x)[group / 2]);
          const float low_scale = group % 2 ? ls.y : ls.x, high_scale = group % 2 ? hs.y : hs.x;
          uint32_t left[4], right[4];
#pragma unroll
          for (int j = 0; j < 4; j++) left[j] = codes<T>(a, j), right[j] = codes<T>(b, j);
#pragma unroll
          for (int tile = 0; tile < kTiles; tile++) {
            uint4 v = {0, 0, 0, 0};
            if (tile * 8 + g < M)
              v = load16(x + (tile * 8 + g) * x_stride + step * 128 + group * 32 + t * 8);
            float part[4] = {};
            mma<T>(part, left[0], right[0], left[1], right[1], v.x, v.y);
            mma<T>(part, left[2], right[2], left[3], right[3], v.z, v.w);
            sum[tile][0] += low_scale * part[0];
            sum[tile][1] += low_scale * part[1];
            sum[tile][2] += high_scale * part[2];
            sum[tile][3] += high_scale * part[3];
          }
        }
      }
    }
#pragma unroll
    for (int s = 0; s < kSteps; s++) now[s] = next[s];
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
  constexpr int kRows = kEpilogue == kGate ? 8 : 16;
  for (int i = threadIdx.x; i < kTiles * 8 * kRows; i += kWarps * 32) {
    const int tile = i / (8 * kRows), m = i / kRows % 8, n = i % kRows;
    if (tile * 8 + m >= M) continue;
    const int64_t at = int64_t{tile * 8 + m} * N + blockIdx.x * kRows + n;
    float v = total(tile, m * 16 + n);
    if (kEpilogue == kAdd) v += to_float(residual[at]);
    if (kEpilogue == kGate) {  // both products are values of the graph: rounded as if stored
      const float gate = to_float(from_float<T>(v));
      v = gate / (1.f + __expf(-gate)) * to_float(from_float<T>(total(tile, m * 16 + n + 8)));
    }
    y[at] = from_float<T>(v);
  }
}

template <class T, int kWarps, int kSteps>
int gemm_w4g32(void* y, const void* x, const void* w, const void* residual, int M, int N, int K,
               int64_t x_stride, int epilogue, int overlap, cudaStream_t stream) {
  auto go = [&](auto kernel, int rows) {
    return launch(kernel, dim3(N / rows), dim3(kWarps * 32), 0, stream, overlap,
                  static_cast<T*>(y), static_cast<const T*>(x), static_cast<const uint8_t*>(w),
                  static_cast<const T*>(residual), M, N, K, x_stride);
  };
  if (M <= 8) {
    if (epilogue == kGate) return go(gemm_w4g32_kernel<T, 1, kWarps, kSteps, kGate>, 8);
    if (epilogue == kAdd) return go(gemm_w4g32_kernel<T, 1, kWarps, kSteps, kAdd>, 16);
    return go(gemm_w4g32_kernel<T, 1, kWarps, kSteps, kPlain>, 16);
  }
  if (epilogue == kGate) return go(gemm_w4g32_kernel<T, 2, kWarps, kSteps, kGate>, 8);
  if (epilogue == kAdd) return go(gemm_w4g32_kernel<T, 2, kWarps, kSteps, kAdd>, 16);
  return go(gemm_w4g32_kernel<T, 2, kWarps, kSteps, kPlain>, 16);
}

template <class T>
int gemm_w4g32(void* y, const void* x, const void* w, const void* residual, int M, int N, int K,
               int64_t x_stride, int epilogue, int variant, int overlap, cudaStream_t stream) {
  if (M < 0 || M > 16 || N % 16 || K % 256 || x_stride % 8 || epilogue < 0 || epilogue > 2 ||
      (epilogue == kAdd) != (residual != nullptr))
    return cudaErrorInvalidValue;
  if (M == 0 || N == 0) return cudaSuccess;
  if (variant < 0) variant = 3;
  switch (variant) {
#define TREADLE_VARIANT(id, warps, steps)                                                     \
  case id:                                                                                    \
    return gemm_w4g32<T, warps, steps>(y, x, w, residual, M, N, K, x_stride, epilogue, overlap, \
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

// x [M, K] with row stride, w int8 [N, K/2 + K/16] (2N rows for epilogue 2), y [M, N]; M <= 16,
// N % 16 == 0, K % 256 == 0. Epilogues and variants as for treadle_gemm_small.
extern "C" int treadle_gemm_w4g32_bf16(void* y, const void* x, const void* w, const void* residual,
                                       int M, int N, int K, int64_t x_stride, int epilogue,
                                       int variant, int overlap, cudaStream_t stream) {
  return treadle::gemm_w4g32<treadle::bf16>(y, x, w, residual, M, N, K, x_stride, epilogue, variant,
                                            overlap, stream);
}
