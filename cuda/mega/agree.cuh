// The draw over ranks: each has rows of the vocabulary of its own. What the workers of a rank have
// found by `hop` or by sums goes to all ranks as one packet or a few, sent by its first worker, and
// every worker of every rank puts the same together in rank order.
#pragma once

#include "boxes.cuh"

namespace treadle::mega {

/// Packets of one ballot of a row, one a rank; behind a worker's ballots that of the greatest key.
enum { kGreatest = kBallots };
TM_DEVICE int across(int row, int ballot) {
  return Model::kAcross + (row * (kBallots + 1) + ballot) * Model::kRanks;
}

/// Each rank's greatest key of each row, as `chosen` sees it, becomes that of all ranks, and ids
/// count over the whole vocabulary. All consumers call this behind `hop`.
template <class P>
TM_DEVICE void agree(const Args& a, Smem& s, int warp, int lane, uint32_t epoch, uint32_t told,
                     int ballot) {
  if constexpr (Model::kRanks > 1) {
    static_assert(Model::kRows * Model::kRanks <= 256 && Model::kRanks <= kWarps);
    const int tid = warp * 32 + lane;
    if (worker() == 0 && tid < Model::kRows) {
      uint64_t key = s.best[1][0][tid];
      if (key != 0 && key != kBroken) key -= strips_before(a) * 16;  // ids are inverted in keys
      tell_ranks(a, across(tid, ballot) + static_cast<int>(a.rank),
                 make_uint4(static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), 0, told));
    }
    const bool mine = tid < Model::kRows * Model::kRanks;
    const int row = tid / Model::kRanks, rank = tid % Model::kRanks;
    uint4 v[1];
    poll(a, [&](int) { return across(row, ballot) + rank; }, mine ? 1u : 0u, epoch, P::index, v);
    if (mine) s.best[1][rank][row] = v[0].x | static_cast<uint64_t>(v[0].y) << 32;
    bar_sync(1);
  }
}

/// Sums of 16 bins over a rank's workers become those over all ranks. packet(i): sums 3 i to 3 i +
/// 2 of this rank, from shared memory. The scratch memory's first floats are free.
template <class P, class Packet>
TM_DEVICE void sum_ranks(const Args& a, Smem& s, int warp, int lane, int row, int ballot,
                         uint32_t epoch, uint32_t told, const Packet& packet, float (&bins)[16]) {
  if constexpr (Model::kRanks > 1) {
    const int tid = warp * 32 + lane;
    if (worker() == 0 && tid < kBinPackets) {
      uint4 v = packet(tid);
      v.w = told;
      tell_ranks(a, across(row, ballot + tid) + static_cast<int>(a.rank), v);
    }
    const bool mine = tid < kBinPackets * Model::kRanks;
    const int rank = tid / kBinPackets, i = tid % kBinPackets;
    uint4 v[1];
    poll(
        a, [&](int) { return across(row, ballot + i) + rank; }, mine ? 1u : 0u, epoch, P::index, v);
    if (mine) {
      float* to = scratch_of(s) + rank * 16 + i * 3;
      to[0] = float_of(v[0].x);
      if (i < kBinPackets - 1) to[1] = float_of(v[0].y), to[2] = float_of(v[0].z);
    }
    bar_sync(1);
#pragma unroll
    for (int j = 0; j < 16; j++) {
      bins[j] = 0;
#pragma unroll
      for (int r = 0; r < Model::kRanks; r++) bins[j] += scratch_of(s)[r * 16 + j];
    }
    bar_sync(1);  // they have been read
  }
}

/// What the ranks before this one have of a number that every worker of a rank knows in parts:
/// count is this thread's part.
template <class P>
TM_DEVICE float ranks_before(const Args& a, Smem& s, int warp, int lane, int row, int ballot,
                             uint32_t epoch, uint32_t told, float count) {
  const int tid = warp * 32 + lane;
  float *mine = scratch_of(s) + 16, *all = scratch_of(s) + 32;
#pragma unroll
  for (int m = 16; m; m >>= 1) count += shfl_xor(count, m);
  if (lane == 0) mine[warp] = count;
  bar_sync(1);
  if (worker() == 0 && tid == 0) {
    for (int w = 1; w < kWarps; w++) count += mine[w];
    tell_ranks(a, across(row, ballot) + static_cast<int>(a.rank),
               make_uint4(bits_of(count), 0, 0, told));
  }
  uint4 v[1];
  poll(
      a, [&](int) { return across(row, ballot) + tid; }, tid < Model::kRanks ? 1u : 0u, epoch,
      P::index, v);
  if (tid < Model::kRanks) all[tid] = float_of(v[0].x);
  bar_sync(1);
  float before = 0;
  for (uint32_t r = 0; r < a.rank; r++) before += all[r];
  bar_sync(1);
  return before;
}

}  // namespace treadle::mega
