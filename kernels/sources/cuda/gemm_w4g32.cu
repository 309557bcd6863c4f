// y = x . w^T for up to 16 rows of x and 4-bit weights in groups of 32 (w4g32).
//
// A row of w holds K/2 bytes of codes, then K/32 float16 scales; w = (code - 8) * scale. Codes are
// stored in the order of use: of 128 columns, lane t of four owns 16 bytes, 4 of each group; those
// 4 bytes hold columns 8t .. 8t+7 of the group, column 2j in nibble j and 2j+1 in nibble j + 4.
// Codes are exact in the type of x, products are summed in float32 and scaled once a group, so the
// only rounding is that of float32 sums and of the result.
#include "gemm_decode.cuh"

namespace treadle {

// Two codes (nibbles j and j + 4 of `word`) as a pair of T with values code - 8, exactly.
template <class T>
__device__ inline uint32_t codes(uint32_t word, int j);
template <>
__device__ inline uint32_t codes<bf16>(uint32_t word, int j) {
  const uint32_t bits = ((word >> (4 * j)) & 0x000f000fu) | 0x43004300u;  // 128 + code
  __nv_bfloat162 v =
      __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&bits),
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

struct Step {  // 128 columns of two rows: codes, and the scales of four groups
  uint4 upper, lower;
  uint2 upper_scale, lower_scale;
};

template <class T, int kTiles, int kWarps, int kEpilogue>
__global__ void __launch_bounds__(kWarps * 32) gemm_w4g32_kernel(GemmArgs<T, uint8_t> a) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int64_t bytes = a.K / 2 + a.K / 16;
  const uint8_t* upper = a.w + upper_row<kEpilogue>(g) * bytes;
  const uint8_t* lower = a.w + lower_row<kEpilogue>(g, a.N) * bytes;
  const int steps = a.K / 128;

  Step now, next;
  auto read = [&](Step& into, int step) {
    into.upper = load_stream(upper + step * 64 + t * 16);
    into.lower = load_stream(lower + step * 64 + t * 16);
    into.upper_scale = load_stream8(upper + a.K / 2 + step * 8);
    into.lower_scale = load_stream8(lower + a.K / 2 + step * 8);
  };
  if (warp < steps) read(now, warp);  // w is constant: before the inputs exist
  await_inputs();
  release_successor();

  float sum[kTiles][4] = {};
  for (int step = warp; step < steps; step += kWarps) {
    if (step + kWarps < steps) read(next, step + kWarps);
#pragma unroll
    for (int group = 0; group < 4; group++) {
      const float2 us = Pair<f16>::wide((&now.upper_scale.x)[group / 2]);
      const float2 ls = Pair<f16>::wide((&now.lower_scale.x)[group / 2]);
      const float upper_scale = group % 2 ? us.y : us.x, lower_scale = group % 2 ? ls.y : ls.x;
      uint32_t left[4], right[4];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        left[j] = codes<T>((&now.upper.x)[group], j);
        right[j] = codes<T>((&now.lower.x)[group], j);
      }
#pragma unroll
      for (int tile = 0; tile < kTiles; tile++) {
        uint4 v = {0, 0, 0, 0};
        if (tile * 8 + g < a.M)
          v = load16(a.x + (tile * 8 + g) * a.x_stride + step * 128 + group * 32 + t * 8);
        float part[4] = {};
        mma<T>(part, left[0], right[0], left[1], right[1], v.x, v.y);
        mma<T>(part, left[2], right[2], left[3], right[3], v.z, v.w);
        sum[tile][0] += upper_scale * part[0];
        sum[tile][1] += upper_scale * part[1];
        sum[tile][2] += lower_scale * part[2];
        sum[tile][3] += lower_scale * part[3];
      }
    }
    now = next;
  }
  finish_gemm<T, kTiles, kWarps, kEpilogue>(sum, a.y, a.residual, a.M, a.N);
}

template <class T, int kTiles, int kWarps, int kEpilogue>
struct GemmW4 {
  static constexpr auto run = gemm_w4g32_kernel<T, kTiles, kWarps, kEpilogue>;
};

template <class T>
int gemm_w4g32(void* y, const void* x, const void* w, const void* residual, int M, int N, int K,
               int64_t x_stride, int epilogue, int warps, int overlap, cudaStream_t stream) {
  if (K % 256) return cudaErrorInvalidValue;
  const GemmArgs<T, uint8_t> args{static_cast<T*>(y),
                                  static_cast<const T*>(x),
                                  static_cast<const uint8_t*>(w),
                                  static_cast<const T*>(residual),
                                  M,
                                  N,
                                  K,
                                  x_stride};
  return launch_gemm<GemmW4>(args, epilogue, warps, 1024, overlap, stream);
}

}  // namespace treadle

// x [M, K] with row stride, w int8 [N, K/2 + K/16] (2N rows for epilogue 2), y [M, N]; M <= 16,
// N % 16 == 0, K % 256 == 0. Epilogues and warps as for treadle_gemm_small.
extern "C" int treadle_gemm_w4g32_bf16(void* y, const void* x, const void* w, const void* residual,
                                       int M, int N, int K, int64_t x_stride, int epilogue,
                                       int warps, int overlap, cudaStream_t stream) {
  return treadle::gemm_w4g32<treadle::bf16>(y, x, w, residual, M, N, K, x_stride, epilogue, warps,
                                            overlap, stream);
}
