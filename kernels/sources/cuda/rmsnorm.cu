// rmsnorm and add + rmsnorm: one block a row, the row kept in registers, float32 inside.
//
// y = v / sqrt(mean(v^2) + eps) * w with v = x, or x + residual. `sum`, where given, receives
// x + residual in the storage type; `round_sum` then normalises the rounded sum, which is what a
// separate add would leave, else the float32 one.
#include "common.cuh"

namespace treadle {

constexpr int kVector = 8;  // elements of a 16-byte access

template <class T, bool kWideWeight, int kVectors>
__global__ void __launch_bounds__(1024)
    rmsnorm_kernel(T* y, T* sum, const T* x, const T* residual, const void* weight, int D,
                   int64_t stride, float eps, int round_sum) {
  __shared__ float partial[32];
  const int64_t row = blockIdx.x;
  const int vectors = D / kVector;
  uint4 wbits[kVectors][kWideWeight ? 2 : 1];
#pragma unroll
  for (int i = 0; i < kVectors; i++) {  // the weight is constant: read before the inputs exist
    const int v = threadIdx.x + i * blockDim.x;
    if (v < vectors) {
      if (kWideWeight) {
        wbits[i][0] = reinterpret_cast<const uint4*>(weight)[2 * v];
        wbits[i][kWideWeight] = reinterpret_cast<const uint4*>(weight)[2 * v + 1];
      } else {
        wbits[i][0] = reinterpret_cast<const uint4*>(weight)[v];
      }
    }
  }
  await_inputs();
  release_successor();
  float value[kVectors][kVector];
  float square = 0.f;
#pragma unroll
  for (int i = 0; i < kVectors; i++) {
    const int v = threadIdx.x + i * blockDim.x;
    if (v < vectors) {
      uint4 bits = load16(x + row * stride + v * kVector);
      uint32_t* words = &bits.x;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float2 pair = Pair<T>::wide(words[j]);
        value[i][2 * j] = pair.x;
        value[i][2 * j + 1] = pair.y;
      }
      if (residual) {
        uint4 more = load16(residual + row * D + v * kVector);
        const uint32_t* others = &more.x;
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float2 pair = Pair<T>::wide(others[j]);
          value[i][2 * j] += pair.x;
          value[i][2 * j + 1] += pair.y;
          if (sum) {
            words[j] = Pair<T>::narrow(value[i][2 * j], value[i][2 * j + 1]);
            if (round_sum) {
              const float2 rounded = Pair<T>::wide(words[j]);
              value[i][2 * j] = rounded.x;
              value[i][2 * j + 1] = rounded.y;
            }
          }
        }
        if (sum) *reinterpret_cast<uint4*>(sum + row * D + v * kVector) = bits;
      }
#pragma unroll
      for (int j = 0; j < kVector; j++) square += value[i][j] * value[i][j];
    }
  }
  square = warp_sum(square);
  const int warps = blockDim.x / 32;
  if (warps > 1) {
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = square;
    __syncthreads();
    square = warp_sum(threadIdx.x % 32 < warps ? partial[threadIdx.x % 32] : 0.f);
  }
  const float factor = rsqrtf(square / D + eps);
#pragma unroll
  for (int i = 0; i < kVectors; i++) {
    const int v = threadIdx.x + i * blockDim.x;
    if (v < vectors) {
      uint4 bits;
      uint32_t* words = &bits.x;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float2 w;
        if (kWideWeight) {
          const float* wide = reinterpret_cast<const float*>(wbits[i]);
          w = make_float2(wide[2 * j], wide[2 * j + 1]);
        } else {
          w = Pair<T>::wide((&wbits[i][0].x)[j]);
        }
        words[j] =
            Pair<T>::narrow(value[i][2 * j] * factor * w.x, value[i][2 * j + 1] * factor * w.y);
      }
      *reinterpret_cast<uint4*>(y + row * D + v * kVector) = bits;
    }
  }
}

template <class T, bool kWideWeight>
int rmsnorm(void* y, void* sum, const void* x, const void* residual, const void* weight, int T_rows,
            int D, int64_t stride, float eps, int round_sum, int overlap, cudaStream_t stream) {
  if (D % kVector || D > 4 * 1024 * kVector || stride % kVector) return cudaErrorInvalidValue;
  if (T_rows == 0) return cudaSuccess;
  const int vectors = D / kVector;
  auto go = [&](auto kernel, int each) {
    const int threads = ((vectors + each - 1) / each + 31) / 32 * 32;
    return launch(kernel, dim3(T_rows), dim3(threads), 0, stream, overlap, static_cast<T*>(y),
                  static_cast<T*>(sum), static_cast<const T*>(x), static_cast<const T*>(residual),
                  weight, D, stride, eps, round_sum);
  };
  if (vectors <= 1024) return go(rmsnorm_kernel<T, kWideWeight, 1>, 1);
  if (vectors <= 2048) return go(rmsnorm_kernel<T, kWideWeight, 2>, 2);
  return go(rmsnorm_kernel<T, kWideWeight, 4>, 4);
}

}  // namespace treadle

// x [T, D] with row stride `stride` elements, residual, sum, y [T, D] dense, weight [D] in the
// type of x or float32 (`wide_weight`). sum may be residual itself. D % 8 == 0, D <= 32768.
extern "C" int treadle_rmsnorm_bf16(void* y, void* sum, const void* x, const void* residual,
                                    const void* weight, int T, int D, int64_t stride, float eps,
                                    int wide_weight, int round_sum, int overlap,
                                    cudaStream_t stream) {
  return wide_weight
             ? treadle::rmsnorm<treadle::bf16, true>(y, sum, x, residual, weight, T, D, stride, eps,
                                                     round_sum, overlap, stream)
             : treadle::rmsnorm<treadle::bf16, false>(y, sum, x, residual, weight, T, D, stride,
                                                      eps, round_sum, overlap, stream);
}
