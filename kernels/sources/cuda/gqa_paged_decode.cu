// Attention of one query a sequence over a paged cache, grouped heads, in one launch.
//
// The keys of a sequence are dealt to `splits` blocks and their warps in tiles of 16. A warp keeps
// its own running maximum, sum and output; a tile goes from global memory into registers and the
// tensor cores without shared memory: S^T = K q^T has keys as rows, its transpose inside the warp
// (movmatrix) is the right operand of O^T = V^T P^T, and the head dimension is permuted so that a
// lane reads 16 contiguous bytes. Warps merge in shared memory, blocks through a workspace that
// the last block of a group of heads folds (Flash-Decoding, Dao et al. 2023).
#include "common.cuh"

namespace treadle {

struct DecodeArgs {
  bf16* out;                    // [b, H, d]
  float* lse;                   // [b, H], base 2, or null
  const bf16* q;                // [b, H, d], rows of q_stride elements
  const bf16 *k, *v;            // [pages, B, K, d]
  const int *indptr, *indices;  // pages of each sequence
  const int* last;              // keys on the last page, or null when pages hold one key
  float* work;                  // [b, H, splits, d + 2]
  int* arrived;                 // [b, K], zero before and after
  int64_t q_stride;
  int H, K, page, splits;
  float scale;  // times log2(e)
};

__device__ inline uint32_t transpose8(uint32_t v) {
  uint32_t r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(v));
  return r;
}

__device__ inline uint32_t pick(uint32_t a, uint32_t b, bool upper) {
  return __byte_perm(a, b, upper ? 0x7632 : 0x5410);
}

// kHeads: tiles of 8 query heads of one key head. d = 64 or 128.
template <int d, int kHeads, int kWarps>
__global__ void __launch_bounds__(kWarps * 32, kHeads == 1 ? 4 : 2)
    gqa_paged_decode_kernel(DecodeArgs a) {
  constexpr int kDepth = d / 32;     // 16-byte reads of a key by a lane
  constexpr int kWide = d / 64;      // 16-byte reads of a value by a lane
  extern __shared__ float shared[];  // [kWarps][8 * kHeads][d + 2], then factors [group][splits]
  __shared__ bool last_block;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int kv_head = blockIdx.y, sequence = blockIdx.z, group = a.H / a.K;
  const int head0 = kv_head * group;
  await_inputs();
  release_successor();

  const int page0 = a.indptr[sequence];
  const int pages = a.indptr[sequence + 1] - page0;
  const int length = pages <= 0 ? 0
                     : a.last   ? (pages - 1) * a.page + a.last[sequence]
                                : pages * a.page;
  const int tiles = (length + 15) / 16;

  uint32_t query[kHeads][kDepth][4];  // right operand: head 8i + g, columns 32c + 8t .. + 7
#pragma unroll
  for (int i = 0; i < kHeads; i++) {
#pragma unroll
    for (int c = 0; c < kDepth; c++) {
      uint4 bits = {0, 0, 0, 0};
      if (8 * i + g < group)
        bits = load16(a.q + sequence * a.q_stride + (head0 + 8 * i + g) * d + c * 32 + t * 8);
      query[i][c][0] = bits.x, query[i][c][1] = bits.y;
      query[i][c][2] = bits.z, query[i][c][3] = bits.w;
    }
  }

  // Output rows (columns of V): mma m, row g or g + 8 <-> column 8g + 64 (m / 4) + 2 (m % 4) + row
  // / 8.
  float acc[kHeads][4 * kWide][4] = {};
  float top[kHeads][2], total[kHeads][2];  // of heads 8i + 2t, + 1
#pragma unroll
  for (int i = 0; i < kHeads; i++)
    top[i][0] = top[i][1] = -INFINITY, total[i][0] = total[i][1] = 0.f;

  const int stride = a.splits * kWarps;
  auto slot_of = [&](int tile) -> int64_t {  // lane & 15 looks up its key of the tile
    const int key = tile * 16 + (lane & 15);
    if (key >= length) return 0;
    if (a.page == 1) return a.indices[page0 + key];
    const int page = key / a.page;
    return int64_t{a.indices[page0 + page]} * a.page + (key - page * a.page);
  };
  const int64_t row = int64_t{a.K} * d;
  int tile = blockIdx.x * kWarps + warp;
  int64_t slots = tile < tiles ? slot_of(tile) : 0;
  for (; tile < tiles; tile += stride) {
    const int64_t offset = slots * row + kv_head * d;
    uint4 keys[2][kDepth], values[4][kWide];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const bf16* p = a.k + __shfl_sync(~0u, offset, h * 8 + g) + t * 8;
#pragma unroll
      for (int c = 0; c < kDepth; c++) keys[h][c] = load_stream(p + c * 32);
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {  // keys 2t, 2t+1, 2t+8, 2t+9
      const int key = 2 * t + (j & 1) + (j & 2) * 4;
      const bf16* p = a.v + __shfl_sync(~0u, offset, key) + g * 8;
      const bool seen = tile * 16 + key < length;  // what lies beyond may be NaN
#pragma unroll
      for (int c = 0; c < kWide; c++)
        values[j][c] = seen ? load_stream(p + c * 64) : uint4{0, 0, 0, 0};
    }
    if (tile + stride < tiles) slots = slot_of(tile + stride);
    const int left = length - tile * 16;
    uint32_t weights[kHeads][2];
#pragma unroll
    for (int i = 0; i < kHeads; i++) {
      float s[4] = {};  // keys g, g + 8; heads 2t, 2t + 1
#pragma unroll
      for (int c = 0; c < kDepth; c++) {
        const uint4 x = keys[0][c], y = keys[1][c];
        mma<bf16>(s, x.x, y.x, x.y, y.y, query[i][c][0], query[i][c][1]);
        mma<bf16>(s, x.z, y.z, x.w, y.w, query[i][c][2], query[i][c][3]);
      }
#pragma unroll
      for (int e = 0; e < 4; e++) s[e] = g + (e / 2) * 8 < left ? s[e] * a.scale : -INFINITY;
      float factor[2];
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float m = fmaxf(s[e], s[e + 2]);
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2) m = fmaxf(m, __shfl_xor_sync(~0u, m, mask));
        m = fmaxf(m, top[i][e]);  // finite: a tile holds at least one key
        factor[e] = exp2f(top[i][e] - m);
        top[i][e] = m;
        s[e] = exp2f(s[e] - m);
        s[e + 2] = exp2f(s[e + 2] - m);
        total[i][e] = total[i][e] * factor[e] + s[e] + s[e + 2];
      }
      weights[i][0] = transpose8(Pair<bf16>::narrow(s[0], s[1]));
      weights[i][1] = transpose8(Pair<bf16>::narrow(s[2], s[3]));
#pragma unroll
      for (int m = 0; m < 4 * kWide; m++)
#pragma unroll
        for (int e = 0; e < 4; e++) acc[i][m][e] *= factor[e & 1];
    }
#pragma unroll
    for (int c = 0; c < kWide; c++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const uint32_t v0 = (&values[0][c].x)[j], v1 = (&values[1][c].x)[j];
        const uint32_t v2 = (&values[2][c].x)[j], v3 = (&values[3][c].x)[j];
        const uint32_t a0 = pick(v0, v1, false), a1 = pick(v0, v1, true);
        const uint32_t a2 = pick(v2, v3, false), a3 = pick(v2, v3, true);
#pragma unroll
        for (int i = 0; i < kHeads; i++)
          mma<bf16>(acc[i][c * 4 + j], a0, a1, a2, a3, weights[i][0], weights[i][1]);
      }
    }
  }

  constexpr int kRow = d + 2;
#pragma unroll
  for (int i = 0; i < kHeads; i++) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
#pragma unroll
      for (int mask = 4; mask < 32; mask *= 2)
        total[i][e] += __shfl_xor_sync(~0u, total[i][e], mask);
      float* to = shared + (warp * 8 * kHeads + i * 8 + 2 * t + e) * kRow;
#pragma unroll
      for (int m = 0; m < 4 * kWide; m++) {
        const int column = 8 * g + 64 * (m / 4) + 2 * (m % 4);
        to[column] = acc[i][m][e];
        to[column + 1] = acc[i][m][e + 2];
      }
      if (g == 0) to[d] = top[i][e], to[d + 1] = total[i][e];
    }
  }
  __syncthreads();

  const int64_t first = int64_t{sequence} * a.H + head0;  // [head][split][d + 2] of the workspace
  for (int i = threadIdx.x; i < group * d; i += kWarps * 32) {
    const int head = i / d, column = i % d;
    const float* rows = shared + head * kRow;
    constexpr int kNext = 8 * kHeads * kRow;
    float m = -INFINITY, sum = 0.f, value = 0.f;
#pragma unroll
    for (int w = 0; w < kWarps; w++) m = fmaxf(m, rows[w * kNext + d]);
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
      const float f = m == -INFINITY ? 0.f : exp2f(rows[w * kNext + d] - m);
      sum += f * rows[w * kNext + d + 1];
      value += f * rows[w * kNext + column];
    }
    if (a.splits == 1) {
      a.out[(first + head) * d + column] = from_float<bf16>(sum > 0.f ? value / sum : 0.f);
      if (column == 0 && a.lse) a.lse[first + head] = sum > 0.f ? m + log2f(sum) : -INFINITY;
    } else {
      float* to = a.work + ((first + head) * a.splits + blockIdx.x) * kRow;
      to[column] = value;
      if (column == 0) to[d] = m, to[d + 1] = sum;
    }
  }
  if (a.splits == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    int* counter = a.arrived + sequence * a.K + kv_head;
    last_block = atomicAdd(counter, 1) == a.splits - 1;
    if (last_block) *counter = 0;
  }
  __syncthreads();
  if (!last_block) return;
  __threadfence();

  // The last block folds the splits: factors of all (a warp a head), then columns, four at a time.
  // Rows come from other blocks: past L1, which may hold what was there before.
  const float* work = a.work + first * a.splits * kRow;
  for (int head = warp; head < group; head += kWarps) {
    const float* rows = work + int64_t{head} * a.splits * kRow + d;
    float m = -INFINITY, sum = 0.f;
    for (int s = lane; s < a.splits; s += 32) m = fmaxf(m, __ldcg(rows + s * kRow));
#pragma unroll
    for (int mask = 16; mask; mask >>= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, mask));
    for (int s = lane; s < a.splits; s += 32) {
      const float f = m == -INFINITY ? 0.f : exp2f(__ldcg(rows + s * kRow) - m);
      sum += f * __ldcg(rows + s * kRow + 1);
      shared[head * a.splits + s] = f;
    }
    sum = warp_sum(sum);
    const float inverse = sum > 0.f ? 1.f / sum : 0.f;
    for (int s = lane; s < a.splits; s += 32) shared[head * a.splits + s] *= inverse;
    if (lane == 0 && a.lse) a.lse[first + head] = sum > 0.f ? m + log2f(sum) : -INFINITY;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < group * d / 2; i += kWarps * 32) {
    const int head = i / (d / 2), column = i % (d / 2) * 2;
    const float* rows = work + int64_t{head} * a.splits * kRow + column;
    const float* factors = shared + head * a.splits;
    float2 value = {0.f, 0.f};
#pragma unroll 16
    for (int s = 0; s < a.splits; s++) {
      const float2 part = __ldcg(reinterpret_cast<const float2*>(rows + s * kRow));
      value.x += factors[s] * part.x;
      value.y += factors[s] * part.y;
    }
    *reinterpret_cast<uint32_t*>(a.out + (first + head) * d + column) =
        Pair<bf16>::narrow(value.x, value.y);
  }
}

template <int d, int kHeads>
int gqa_paged_decode(const DecodeArgs& args, int batch, int overlap, cudaStream_t stream) {
  constexpr int kWarps = 4;
  constexpr size_t kFold = sizeof(float) * kWarps * 8 * kHeads * (d + 2);
  const size_t factors = sizeof(float) * args.H / args.K * args.splits;
  return launch(gqa_paged_decode_kernel<d, kHeads, kWarps>, dim3(args.splits, args.K, batch),
                dim3(kWarps * 32), kFold > factors ? kFold : factors, stream, overlap, args);
}

}  // namespace treadle

// splits: blocks a sequence and key head; work: float [b, H, splits, d + 2] (unused for one split);
// arrived: int [b, K], zero before the first call. page 1: `last` may be null. scale without log2e.
// d 64 or 128, H / K <= 16. A sequence without pages gives zeros and an lse of -inf.
extern "C" int treadle_gqa_paged_decode_bf16(void* out, void* lse, const void* q, const void* k,
                                             const void* v, const void* indptr, const void* indices,
                                             const void* last, void* work, void* arrived, int batch,
                                             int H, int K, int d, int page, int64_t q_stride,
                                             int splits, float scale, int overlap,
                                             cudaStream_t stream) {
  using namespace treadle;
  if (H % K || H / K > 16 || (d != 64 && d != 128) || splits < 1 || page < 1 || q_stride % 8)
    return cudaErrorInvalidValue;
  if (batch == 0) return cudaSuccess;
  const DecodeArgs args{static_cast<bf16*>(out),
                        static_cast<float*>(lse),
                        static_cast<const bf16*>(q),
                        static_cast<const bf16*>(k),
                        static_cast<const bf16*>(v),
                        static_cast<const int*>(indptr),
                        static_cast<const int*>(indices),
                        static_cast<const int*>(last),
                        static_cast<float*>(work),
                        static_cast<int*>(arrived),
                        q_stride,
                        H,
                        K,
                        page,
                        splits,
                        scale * 1.4426950408889634f};
  if (d == 64)
    return H / K <= 8 ? gqa_paged_decode<64, 1>(args, batch, overlap, stream)
                      : gqa_paged_decode<64, 2>(args, batch, overlap, stream);
  return H / K <= 8 ? gqa_paged_decode<128, 1>(args, batch, overlap, stream)
                    : gqa_paged_decode<128, 2>(args, batch, overlap, stream);
}
