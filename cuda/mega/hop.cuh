// Once round the grid: each worker offers a key a row, every worker reads all offers and knows the
// greatest. No leader, no second hop.
#pragma once

namespace treadle::mega {

TM_DEVICE uint64_t better(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

/// What `hop` found for a row.
TM_DEVICE uint64_t chosen(const Smem& s, int row) {
  uint64_t key = 0;
#pragma unroll 1
  for (int w = 0; w < kWarps; w++) key = better(key, s.best[1][w][row]);
  return key;
}

/// Offers the greatest key of each row over this worker's warps, `s.best[0]`, and clears them;
/// takes all offers into `s.best[1]`. at: packet of the first worker's first row; stride: packets
/// to the next row.
template <class P>
TM_DEVICE void hop(const Args& a, Smem& s, int warp, int lane, uint32_t epoch, uint32_t told,
                   int at, int stride) {
  constexpr int kWorkers = Model::kWorkers;
  static_assert(kWorkers <= 256);
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
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    uint4 v[1] = {make_uint4(0, 0, 0, 0)};
    poll(
        a, [&](int) { return at + row * stride + tid; }, tid < kWorkers ? 1u : 0u, epoch, P::index,
        v);
    uint64_t key = v[0].x | static_cast<uint64_t>(v[0].y) << 32;
#pragma unroll
    for (int m = 16; m; m >>= 1) key = better(key, shfl_xor(key, m));
    if (lane == 0) s.best[1][warp][row] = key;
  }
  fence_grid();
  bar_sync(1);
}

}  // namespace treadle::mega
