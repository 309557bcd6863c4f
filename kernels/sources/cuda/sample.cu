// Draws one token a row from probabilities or logits under top_k and top_p, exactly, without
// sorting. Eight blocks of a cluster hold a row in shared memory.
//
// top_k first: the k-th largest value by an 8-ary search over the bits of the floats (positive
// floats order as integers); values equal to it all stay. Then top_p by rejection: draw from what
// is at or above a floor, accept if the mass above the drawn value is at most top_p of the kept
// mass, else raise the floor above the drawn value. Accepted draws are distributed as draws from
// the filtered row (pivot rejection as in FlashInfer, arXiv 2501.01005). Order of the sums is
// fixed, so equal seeds give equal tokens.
#include <cooperative_groups.h>

#include "common.cuh"

namespace treadle {
namespace cg = cooperative_groups;

constexpr int kCluster = 8;
constexpr int kThreads = 1024;
constexpr int kPivots = 7;

// Philox 4x32-10 (Salmon et al. 2011): one uniform in [0, 1) from (seed, row, round).
__device__ inline float uniform(uint64_t seed, uint32_t row, uint32_t round) {
  uint32_t c0 = row, c1 = round, c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int i = 0; i < 10; i++) {
    const uint64_t a = uint64_t{0xD2511F53u} * c0, b = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(b);
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return (c0 >> 8) * (1.f / 16777216.f);
}

struct Exchange {  // what blocks of a cluster tell each other; two copies, used in turns
  float mass[2][kCluster];
  uint32_t count[2][kCluster][kPivots];
  unsigned long long best[2][kCluster];
  uint32_t drawn_bits[2];
  int drawn_at[2];
};

struct Row {
  cg::cluster_group cluster;
  Exchange* shared;
  float* warps;  // [32]
  int turn;

  // Sums of a block by all its threads: inclusive scan of v by thread, total in `total`.
  __device__ float scan(float v, float& total) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
      const float other = __shfl_up_sync(~0u, v, by);
      if (lane >= by) v += other;
    }
    __syncthreads();
    if (lane == 31) warps[warp] = v;
    __syncthreads();
    float sum = warps[lane];
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
      const float other = __shfl_up_sync(~0u, sum, by);
      if (lane >= by) sum += other;
    }
    total = __shfl_sync(~0u, sum, 31);
    const float before = __shfl_sync(~0u, sum, warp ? warp - 1 : 0);
    return warp ? v + before : v;
  }

  // Tells all blocks this block's mass; afterwards shared->mass[result] holds all eight.
  __device__ int share_mass(float mass) {
    const int now = turn++ & 1;
    if (threadIdx.x < kCluster)
      cluster.map_shared_rank(shared, threadIdx.x)->mass[now][cluster.block_rank()] = mass;
    cluster.sync();
    return now;
  }
};

__global__ void __launch_bounds__(kThreads)
    sample_kernel(int64_t* samples, const float* input, const int* top_k, const float* top_p,
                  const float* temperature, int V, uint64_t seed) {
  extern __shared__ float slice[];
  __shared__ Exchange exchange;
  __shared__ float warp_sums[32];
  __shared__ uint32_t counts[kPivots];
  __shared__ unsigned long long best;
  __shared__ int first_thread, last_thread;
  Row row{cg::this_cluster(), &exchange, warp_sums, 0};
  const int rank = row.cluster.block_rank(), tid = threadIdx.x;
  const int r = blockIdx.x / kCluster;
  const int each = (V + kCluster - 1) / kCluster, begin = rank * each;
  const int n = max(0, min(each, V - begin));
  await_inputs();
  release_successor();
  const float heat = temperature ? temperature[r] : 1.f;
  const float p = top_p ? top_p[r] : 1.f;
  const int k = top_k ? top_k[r] : 0;
  const float* from = input + int64_t{r} * V + begin;
  for (int i = tid; i < n; i += kThreads) slice[i] = from[i];
  if (tid == 0) best = 0;
  __syncthreads();

  // The largest value, the lowest index among equals: the answer of a greedy row, and the shift of
  // a softmax. Floats of either sign order as integers once negative ones are flipped.
  const bool greedy = heat <= 0.f || p <= 0.f || k == 1;
  if (temperature || greedy) {
    unsigned long long own = 0;
    for (int i = tid; i < n; i += kThreads) {
      const uint32_t bits = __float_as_uint(slice[i]);
      const uint32_t order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
      const unsigned long long key =
          (static_cast<unsigned long long>(order) << 32) | (0xffffffffu - (begin + i));
      own = own > key ? own : key;
    }
#pragma unroll
    for (int mask = 16; mask; mask >>= 1) {
      const unsigned long long other = __shfl_xor_sync(~0u, own, mask);
      own = own > other ? own : other;
    }
    if (tid % 32 == 0) atomicMax(&best, own);
    __syncthreads();
    if (tid < kCluster) row.cluster.map_shared_rank(&exchange, tid)->best[0][rank] = best;
    row.cluster.sync();
    unsigned long long all = exchange.best[0][0];
#pragma unroll
    for (int i = 1; i < kCluster; i++) all = all > exchange.best[0][i] ? all : exchange.best[0][i];
    if (greedy) {
      if (rank == 0 && tid == 0) samples[r] = 0xffffffffu - static_cast<uint32_t>(all);
      row.cluster.sync();
      return;
    }
    const uint32_t order = static_cast<uint32_t>(all >> 32);
    const float largest = __uint_as_float(order & 0x80000000u ? order ^ 0x80000000u : ~order);
    const float rate = 1.4426950408889634f / heat;
    for (int i = tid; i < n; i += kThreads) slice[i] = exp2f((slice[i] - largest) * rate);
  }

  // The k-th largest: the largest floor with at least k values at or above it.
  uint32_t floor = 1;  // zero has no mass and is never drawn
  if (k > 1 && k < V) {
    uint32_t low = 1, high = 0x7f800000u;  // floor in [low, high)
    while (high - low > 1) {
      const uint32_t width = high - low;
      uint32_t mine[kPivots] = {};
      uint32_t pivots[kPivots];
#pragma unroll
      for (int i = 0; i < kPivots; i++)
        pivots[i] = low + static_cast<uint32_t>(uint64_t{width} * (i + 1) / (kPivots + 1));
      for (int i = tid; i < n; i += kThreads) {
        const uint32_t bits = __float_as_uint(slice[i]);
#pragma unroll
        for (int j = 0; j < kPivots; j++) mine[j] += bits >= pivots[j];
      }
      __syncthreads();
      if (tid < kPivots) counts[tid] = 0;
      __syncthreads();
#pragma unroll
      for (int j = 0; j < kPivots; j++) {
        const uint32_t sum = __reduce_add_sync(~0u, mine[j]);
        if (tid % 32 == 0 && sum) atomicAdd(&counts[j], sum);
      }
      __syncthreads();
      const int now = row.turn++ & 1;
      if (tid < kCluster * kPivots)
        row.cluster.map_shared_rank(&exchange, tid / kPivots)->count[now][rank][tid % kPivots] =
            counts[tid % kPivots];
      row.cluster.sync();
      bool exact = false;
#pragma unroll
      for (int j = 0; j < kPivots; j++) {
        uint32_t all = 0;
#pragma unroll
        for (int i = 0; i < kCluster; i++) all += exchange.count[now][i][j];
        if (all >= static_cast<uint32_t>(k))
          low = pivots[j] > low ? pivots[j] : low;
        else
          high = pivots[j] < high ? pivots[j] : high;
        exact |= all == static_cast<uint32_t>(k);
      }
      if (exact) break;  // `low` keeps exactly k
    }
    floor = low;
  }

  float kept = -1.f;  // mass of what top_k keeps
  for (uint32_t round = 0;; round++) {
    float own = 0.f;
    for (int i = tid; i < n; i += kThreads) {
      const float v = slice[i];
      if (__float_as_uint(v) >= floor && v > 0.f) own += v;
    }
    float mass;
    const float upto = row.scan(own, mass);
    const int now = row.share_mass(mass);
    float total = 0.f;
#pragma unroll
    for (int i = 0; i < kCluster; i++) total += exchange.mass[now][i];
    if (kept < 0.f) kept = total;
    // Every row holds mass above a floor that was drawn from and refused, except by rounding.
    if (!(total > 0.f) || round == 4096) {
      if (rank == 0 && tid == 0) samples[r] = -1;
      break;
    }
    const float target = uniform(seed, r, round) * total;
    int owner = -1;
    float before = 0.f, sum = 0.f;
#pragma unroll
    for (int i = 0; i < kCluster; i++) {
      const float m = exchange.mass[now][i];
      if (m > 0.f && (owner < 0 || sum <= target)) owner = i, before = sum;
      sum += m;
    }
    const int copy = row.turn & 1;
    if (owner == rank) {
      if (tid == 0) first_thread = kThreads, last_thread = -1;
      __syncthreads();
      if (own > 0.f) {
        if (upto > target - before) atomicMin(&first_thread, tid);
        atomicMax(&last_thread, tid);
      }
      __syncthreads();
      const int chosen = first_thread < kThreads ? first_thread : last_thread;
      if (tid == chosen) {
        float left = target - before - (upto - own);
        int at = -1;
        for (int i = tid; i < n; i += kThreads) {
          const float v = slice[i];
          if (__float_as_uint(v) < floor || !(v > 0.f)) continue;
          at = i;
          left -= v;
          if (left < 0.f) break;
        }
        for (int i = 0; i < kCluster; i++) {
          Exchange* to = row.cluster.map_shared_rank(&exchange, i);
          to->drawn_bits[copy] = __float_as_uint(slice[at]);
          to->drawn_at[copy] = begin + at;
        }
      }
    }
    row.cluster.sync();
    const uint32_t drawn = exchange.drawn_bits[copy];
    bool accept = p >= 1.f;
    if (!accept) {
      float above = 0.f;
      for (int i = tid; i < n; i += kThreads)
        if (__float_as_uint(slice[i]) > drawn && slice[i] > 0.f) above += slice[i];
      float part;
      row.scan(above, part);
      const int then = row.share_mass(part);
      float all = 0.f;
#pragma unroll
      for (int i = 0; i < kCluster; i++) all += exchange.mass[then][i];
      accept = all <= p * kept;
    }
    if (accept) {
      if (rank == 0 && tid == 0) samples[r] = exchange.drawn_at[copy];
      break;
    }
    floor = drawn + 1;
  }
  row.cluster.sync();  // no block leaves while another may write to it
}

}  // namespace treadle

// samples int64 [b]; input float32 [b, V]: probabilities, or logits where `temperature` [b] is
// given (<= 0: greedy). top_k int32 [b] or null (outside 1 .. V-1: all), top_p float32 [b] or null.
// A row without mass gives -1. V <= 400000.
extern "C" int treadle_sample_f32(void* samples, const void* input, const void* top_k,
                                  const void* top_p, const void* temperature, int batch, int V,
                                  uint64_t seed, int overlap, cudaStream_t stream) {
  using namespace treadle;
  if (V < 1 || V > 400000) return cudaErrorInvalidValue;
  if (batch == 0) return cudaSuccess;
  const size_t bytes = (V + kCluster - 1) / kCluster * sizeof(float);
  return launch_clusters(sample_kernel, dim3(batch * kCluster), dim3(kThreads), bytes, stream,
                         overlap, kCluster, static_cast<int64_t*>(samples),
                         static_cast<const float*>(input), static_cast<const int*>(top_k),
                         static_cast<const float*>(top_p), static_cast<const float*>(temperature),
                         V, seed);
}
