// What the host tells a step while the kernel runs: a box with the rules and masks of its draw, and
// how many steps there may be. Both lie in the host's memory. One worker looks for news and passes
// them on: the same word read by all 128 takes 140 us, a read after the other. Masks are read by
// every worker itself, each its own part.
//
// A box: word 0 the number of the step it is for, from 1 on, written last; words 8 on a rule a row;
// from the next 64 bytes on the masks of all rows, bit i % 32 of word i / 32 for token i. Steps use
// the two boxes in turn: a box is free again once the token drawn by it was told.
#pragma once

#include "seats.cuh"

namespace treadle::mega {

/// ns that the host may take: less than the others wait for word of it, so that the record names
/// it.
constexpr uint64_t kHost = kPatience * 3 / 4;
constexpr int kRounds = 8, kBinPackets = 6;              // of a search: hops, packets a hop
constexpr int kBallots = 2 + 2 * kRounds * kBinPackets;  // a worker's, for a row
constexpr uint32_t kNever = 0x80000000u;  // of `allowed`: the number beside it is the last

/// Where the masks of a box begin, in words.
constexpr int kMasks = (8 + 8 * Model::kRows + 15) / 16 * 16;

TM_DEVICE const uint32_t* box_of(const Args& a, uint32_t step) {
  return a.boxes + (step & 1) * a.box_words;
}

/// Where a worker keeps the mask words of its strips, row after row, while it draws: behind what
/// sums over workers need. A worker with too many strips reads the host's memory again.
constexpr int kKept = 256;  // floats into the scratch memory

/// The words of a mask that hold a worker's strips: those of its second range, which begin `skip`
/// further than they are kept, behind those of the first.
struct Words {
  int from, first, all, skip;
  TM_DEVICE Words(const Args& a, const uint4* ranges) {
    uint4 r0 = ranges[0], r1 = ranges[1];
    r0.x += strips_before(a), r1.x += strips_before(a);
    from = static_cast<int>(r0.x / 2);
    first = r0.y ? static_cast<int>((r0.x + r0.y - 1) / 2 + 1 - r0.x / 2) : 0;
    all = first + (r1.y ? static_cast<int>((r1.x + r1.y - 1) / 2 + 1 - r1.x / 2) : 0);
    skip = static_cast<int>(r1.x / 2) - first;
  }
  TM_DEVICE bool fit() const { return Model::kRows * all <= Model::kScratch - kKept; }
};

TM_DEVICE const uint32_t* mask_of(const Args& a, uint32_t step, int row) {
  return box_of(a, step) + kMasks + row * ((a.vocab * Model::kRanks + 31) / 32);
}

/// Packets by which the first worker passes on what the host says: rules, then whether to go on.
constexpr int kRulePackets = (8 * Model::kRows + 2) / 3;
TM_DEVICE int relay(const Args& a) {
  return static_cast<int>(a.ballots) + Model::kRows * kBallots * Model::kWorkers;
}

/// Waits for the step's box and takes its rules, and this worker's part of the masks that they
/// name, into shared memory. All consumers call this.
template <class P>
TM_DEVICE void take_rules(const Args& a, Smem& s, int tid, uint32_t epoch, uint32_t told) {
  const uint32_t step = s.step;
  const bool again = a.same_rules && step > 0;  // the rules are there
  const uint32_t* box = box_of(a, again ? 0 : step);
  if (!again) {
    if (worker() == 0) {
      if (tid == 0) {
        Spin spin;
        uint32_t seen;
        while ((seen = load_acquired(box)) != step + 1) {
          if (spin.late(kHost)) fail(a, kBox, P::index, step & 1, seen, step + 1);
        }
      }
      bar_sync(1);
      fence_grid();  // whoever sees the packets sees the box
      if (tid < kRulePackets) {
        const uint32_t* from = box + 8 + tid * 3;
        const bool third = tid * 3 + 2 < 8 * Model::kRows, second = tid * 3 + 1 < 8 * Model::kRows;
        store_packet(fresh(a.packets) + relay(a) + tid,
                     make_uint4(load_foreign(from), second ? load_foreign(from + 1) : 0,
                                third ? load_foreign(from + 2) : 0, told));
      }
    }
    uint4 v[1] = {make_uint4(0, 0, 0, 0)};
    poll(a, [&](int) { return relay(a) + tid; }, tid < kRulePackets ? 1u : 0u, epoch, P::index, v);
    uint32_t* to = reinterpret_cast<uint32_t*>(s.rules) + tid * 3;
    if (tid * 3 < 8 * Model::kRows) to[0] = v[0].x;
    if (tid * 3 + 1 < 8 * Model::kRows) to[1] = v[0].y;
    if (tid * 3 + 2 < 8 * Model::kRows) to[2] = v[0].z;
    fence_grid();
  }
  bar_sync(1);
  const Words words(a, s.ranges[P::index - 1]);
  if (!words.fit()) return;
  uint32_t* kept = reinterpret_cast<uint32_t*>(scratch_of(s) + kKept);
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    if (!s.rules[row].masked) continue;
    const uint32_t* mask = mask_of(a, again ? 0 : step, row);
    for (int i = tid; i < words.all; i += 256)
      kept[row * words.all + i] =
          load_foreign(mask + i + (i < words.first ? words.from : words.skip));
  }
  bar_sync(1);
}

/// Whether the host wants another step after so many, which the first worker asks it, and in which
/// seats. By one warp; it may wait.
template <class P>
TM_DEVICE bool goes_on(const Args& a, Smem& s, uint32_t steps, int lane, uint32_t epoch,
                       uint32_t told) {
  if (a.allowed == nullptr || steps >= a.steps) return true;
  const int at = relay(a) + kRulePackets;
  if (worker() == 0) {
    uint32_t seen = 0;
    if (lane == 0) {
      Spin spin;
      while (((seen = load_acquired(a.allowed)) & ~kNever) <= steps && !(seen & kNever)) {
        if (spin.late(kHost)) fail(a, kAllowed, P::index, 0, seen, steps + 1);
      }
    }
    const bool on = (shfl(seen, 0) & ~kNever) > steps;
    const bool seats = on && take_sheet(a, steps, lane);
    if (seats) tell_seats(a, at + 1, lane, told);
    if (lane == 0) store_packet(fresh(a.packets) + at, make_uint4(on, seats, 0, told));
  }
  uint4 v[1] = {make_uint4(0, 0, 0, 0)};
  poll(a, [&](int) { return at; }, 1u, epoch, P::index, v);
  if (v[0].y != 0) take_seats<P>(a, s, at + 1, lane, epoch);
  return v[0].x != 0;
}

}  // namespace treadle::mega
