// silu_and_mul / glu: y = silu(g) * u, elementwise, 16 bytes a thread.
//
// g and u are rows of any stride, so one packed input [T, 2F] (g first) is the case u = g + F.
#include "common.cuh"

namespace treadle {

template <class T>
__global__ void __launch_bounds__(256)
    silu_and_mul_kernel(T* y, const T* g, const T* u, int F, int64_t stride, int64_t vectors) {
  await_inputs();
  release_successor();
  const int each = F / 8;
  for (int64_t i = blockIdx.x * int64_t{256} + threadIdx.x; i < vectors; i += gridDim.x * 256ll) {
    const int64_t row = i / each;
    const int64_t at = row * stride + (i - row * each) * 8;
    const uint4 gates = load16(g + at), ups = load16(u + at);
    uint4 out;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float2 a = Pair<T>::wide((&gates.x)[j]), b = Pair<T>::wide((&ups.x)[j]);
      (&out.x)[j] =
          Pair<T>::narrow(a.x / (1.f + __expf(-a.x)) * b.x, a.y / (1.f + __expf(-a.y)) * b.y);
    }
    *reinterpret_cast<uint4*>(y + i * 8) = out;
  }
}

}  // namespace treadle

// y [T, F] dense; g, u [T, F] with row stride `stride` elements. F % 8 == 0.
extern "C" int treadle_silu_and_mul_bf16(void* y, const void* g, const void* u, int T, int F,
                                         int64_t stride, int overlap, cudaStream_t stream) {
  using treadle::bf16;
  if (F % 8 || stride % 8) return cudaErrorInvalidValue;
  const int64_t vectors = int64_t{T} * (F / 8);
  if (vectors == 0) return cudaSuccess;
  const int64_t blocks = (vectors + 255) / 256;
  return treadle::launch(treadle::silu_and_mul_kernel<bf16>,
                         dim3(blocks < 132 * 8 ? blocks : 132 * 8), dim3(256), 0, stream, overlap,
                         static_cast<bf16*>(y), static_cast<const bf16*>(g),
                         static_cast<const bf16*>(u), F, stride, vectors);
}
