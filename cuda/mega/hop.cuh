// Once round the grid: each worker offers a key a row, every worker reads all offers and knows the
// greatest. No leader, no second hop.
#pragma once

namespace treadle::mega {

constexpr uint64_t kBroken = ~0ull;  // the key of logits that are not finite

TM_DEVICE uint64_t better(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

/// What `hop`, or `agree` behind it, found for a row.
TM_DEVICE uint64_t chosen(const Smem& s, int row) {
  uint64_t key = s.best[1][0][row];
#pragma unroll
  for (int r = 1; r < Model::kRanks; r++) key = better(key, s.best[1][r][row]);
  return key;
}

/// Offers the greatest key of each row over this worker's warps, `s.best[0]`, and clears them;
/// takes all offers into `s.best[1][0]`. at: packet of the first worker's first row; stride:
/// packets to the next row.
template <class P>
TM_DEVICE void hop(const Args& a, Smem& s, int warp, int lane, uint32_t epoch, uint32_t told,
                   int at, int stride) {
  constexpr int kWorkers = Model::kWorkers;
  static_assert(kWorkers <= 256);
  static_assert(kBlocks * ((kWorkers + 31) / 32) <= 32);
  const int tid = warp * 32 + lane;
  bar_sync(1);
  if (tid < Model::kRows) {
    uint64_t key = 0;
    for (int w = 0; w < kWarps; w++) {
      key = better(key, s.best[0][w][tid]);
      s.best[0][w][tid] = 0;  // nobody adds to it before the next step
    }
    fence_grid();  // what this worker appended to KV and wrote as logits goes before its offer
    store_packet(fresh(a.packets) + at + tid * stride + fresh(worker()),
                 make_uint4(static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), 0, told));
  }
  // A warp takes every eighth row, all of them at once: one way to the cache and back.
  constexpr int kTurns = (kWorkers + 31) / 32;
  uint4 v[kBlocks * kTurns];
  uint32_t mask = 0;
#pragma unroll
  for (int i = 0; i < kBlocks * kTurns; i++)
    if (warp + i / kTurns * kWarps < Model::kRows && i % kTurns * 32 + lane < kWorkers)
      mask |= 1u << i;
  const int base = at + warp * stride + lane;
  poll(
      a, [&](int i) { return base + i / kTurns * kWarps * stride + i % kTurns * 32; }, mask, epoch,
      P::index, v);
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
    uint64_t key = 0;
#pragma unroll
    for (int i = b * kTurns; i < (b + 1) * kTurns; i++)  // what nobody asked for is zero
      key = better(key, v[i].x | static_cast<uint64_t>(v[i].y) << 32);
#pragma unroll
    for (int m = 16; m; m >>= 1) key = better(key, shfl_xor(key, m));
    if (lane == 0 && warp + b * kWarps < Model::kRows) s.best[1][0][warp + b * kWarps] = key;
  }
  fence_grid();
  bar_sync(1);
}

}  // namespace treadle::mega
