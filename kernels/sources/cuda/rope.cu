// Rotary embedding of q and k, with what a decoder does around it where asked: the norms of q and
// k before it, and the append of k and v to a paged cache after it. One warp a head and token.
//
// Half-split pairing: element j < r turns with element j + r; elements from 2r on pass through.
// cos_sin [positions, 2r] float32 holds cosines, then sines.
#include "common.cuh"

namespace treadle {

struct RopeArgs {
  const bf16 *q, *k, *v;  // [T, H, d], [T, K, d], [T, K, d]; v null without a cache
  bf16 *q_out, *k_out;    // k_out: [T, K, d], or the key cache [slots, K, d] with `slots`
  bf16* v_out;            // the value cache
  const float* cos_sin;
  const int64_t* positions;              // [T]
  const int64_t* slots;                  // [T] or null
  const float *q_weight, *k_weight;      // [d] or null
  int64_t q_stride, k_stride, v_stride;  // elements from token to token
  int T, H, K, d, r;
  float eps;
};

template <int kPairs>  // pairs of elements a lane holds: d <= 64 * kPairs
__global__ void __launch_bounds__(128) rope_kernel(RopeArgs a) {
  const int lane = threadIdx.x % 32;
  const int heads = a.H + a.K * (a.v ? 2 : 1);
  const int item = blockIdx.x * 4 + threadIdx.x / 32;
  await_inputs();
  release_successor();
  if (item >= a.T * heads) return;
  const int token = item / heads, head = item % heads;
  const int64_t slot = a.slots ? a.slots[token] : token;
  if (head >= a.H + a.K) {  // a value head: only copied
    const int h = head - a.H - a.K;
    const bf16* from = a.v + token * a.v_stride + h * a.d;
    bf16* to = a.v_out + (slot * a.K + h) * a.d;
    for (int j = lane * 2; j < a.d; j += 64)
      *reinterpret_cast<uint32_t*>(to + j) = *reinterpret_cast<const uint32_t*>(from + j);
    return;
  }
  const bool query = head < a.H;
  const int h = query ? head : head - a.H;
  const bf16* from =
      query ? a.q + token * a.q_stride + h * a.d : a.k + token * a.k_stride + h * a.d;
  bf16* to = query ? a.q_out + (int64_t{token} * a.H + h) * a.d : a.k_out + (slot * a.K + h) * a.d;
  const float* weight = query ? a.q_weight : a.k_weight;
  const float* table = a.cos_sin + a.positions[token] * 2 * a.r;
  // Two adjacent j of the first half and the two they turn with; then the tail that passes.
  float first[kPairs][2], second[kPairs][2], tail[kPairs][2];
  float square = 0.f;
#pragma unroll
  for (int i = 0; i < kPairs; i++) {
    const int j = 2 * (lane + 32 * i);
    float2 x = {0, 0}, y = {0, 0}, z = {0, 0};
    if (j < a.r) {
      x = Pair<bf16>::wide(*reinterpret_cast<const uint32_t*>(from + j));
      y = Pair<bf16>::wide(*reinterpret_cast<const uint32_t*>(from + j + a.r));
    }
    if (2 * a.r + j < a.d)
      z = Pair<bf16>::wide(*reinterpret_cast<const uint32_t*>(from + 2 * a.r + j));
    first[i][0] = x.x, first[i][1] = x.y, second[i][0] = y.x, second[i][1] = y.y;
    tail[i][0] = z.x, tail[i][1] = z.y;
#pragma unroll
    for (int e = 0; e < 2; e++)
      square += first[i][e] * first[i][e] + second[i][e] * second[i][e] + tail[i][e] * tail[i][e];
  }
  const float factor = weight ? rsqrtf(warp_sum(square) / a.d + a.eps) : 1.f;
#pragma unroll
  for (int i = 0; i < kPairs; i++) {
    const int j = 2 * (lane + 32 * i);
    if (j < a.r) {
      float low[2], high[2];
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float x = first[i][e], y = second[i][e];
        if (weight) {  // the norm's result is stored in bf16 by the op: round it here too
          x = to_float(from_float<bf16>(x * factor * weight[j + e]));
          y = to_float(from_float<bf16>(y * factor * weight[j + a.r + e]));
        }
        const float c = table[j + e], s = table[a.r + j + e];
        low[e] = x * c - y * s;
        high[e] = y * c + x * s;
      }
      *reinterpret_cast<uint32_t*>(to + j) = Pair<bf16>::narrow(low[0], low[1]);
      *reinterpret_cast<uint32_t*>(to + j + a.r) = Pair<bf16>::narrow(high[0], high[1]);
    }
    const int k = 2 * a.r + j;
    if (k < a.d) {
      float x = tail[i][0], y = tail[i][1];
      if (weight) x *= factor * weight[k], y *= factor * weight[k + 1];
      *reinterpret_cast<uint32_t*>(to + k) = Pair<bf16>::narrow(x, y);
    }
  }
}

}  // namespace treadle

// d even and <= 256, r even, 2r <= d. In-place use (q_out = q) is allowed for dense q and k.
extern "C" int treadle_rope_bf16(void* q_out, void* k_out, void* v_out, const void* q,
                                 const void* k, const void* v, const void* cos_sin,
                                 const void* positions, const void* slots, const void* q_weight,
                                 const void* k_weight, int T, int H, int K, int d, int r,
                                 int64_t q_stride, int64_t k_stride, int64_t v_stride, float eps,
                                 int overlap, cudaStream_t stream) {
  using namespace treadle;
  if (d % 2 || d > 256 || r % 2 || 2 * r > d || (slots && !v)) return cudaErrorInvalidValue;
  if (T == 0) return cudaSuccess;
  RopeArgs args{static_cast<const bf16*>(q),
                static_cast<const bf16*>(k),
                static_cast<const bf16*>(v),
                static_cast<bf16*>(q_out),
                static_cast<bf16*>(k_out),
                static_cast<bf16*>(v_out),
                static_cast<const float*>(cos_sin),
                static_cast<const int64_t*>(positions),
                static_cast<const int64_t*>(slots),
                static_cast<const float*>(q_weight),
                static_cast<const float*>(k_weight),
                q_stride,
                k_stride,
                v_stride,
                T,
                H,
                K,
                d,
                r,
                eps};
  const int widest = r > d - 2 * r ? r : d - 2 * r;
  const int warps = T * (H + K * (v ? 2 : 1));
  const dim3 grid((warps + 3) / 4);
  if (widest <= 64) return launch(rope_kernel<1>, grid, dim3(128), 0, stream, overlap, args);
  if (widest <= 128) return launch(rope_kernel<2>, grid, dim3(128), 0, stream, overlap, args);
  return launch(rope_kernel<4>, grid, dim3(128), 0, stream, overlap, args);
}
