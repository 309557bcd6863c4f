// What the host tells a step while the kernel runs: a box with the rules and masks of its draw, and
// how many steps there may be. Both lie in the host's memory, and every worker reads them itself:
// one hop less than to be told by another worker, and all find the same words.
//
// A box: word 0 the number of the step it is for, from 1 on, written last; words 8 on a rule a row;
// from the next 64 bytes on the masks of all rows, bit i % 32 of word i / 32 for token i. Steps use
// the two boxes in turn: a box is free again once the token drawn by it was told.
#pragma once

namespace treadle::mega {

constexpr uint32_t kNever = 0x80000000u;  // of `allowed`: the number beside it is the last

/// Where the masks of a box begin, in words.
constexpr int kMasks = (8 + 8 * Model::kRows + 15) / 16 * 16;

TM_DEVICE const uint32_t* box_of(const Args& a, uint32_t step) {
  return a.boxes + (step & 1) * a.box_words;
}

/// Where a worker keeps the 16 mask bits of each of its strips, row after row, while it draws:
/// behind what sums over workers need. A worker with too many strips reads the host's memory again.
constexpr int kKept = 256;  // floats into the scratch memory
TM_DEVICE uint16_t* kept_masks(Smem& s) {
  return reinterpret_cast<uint16_t*>(s.scratch + kKept);
}
TM_DEVICE bool keeps_masks(int strips) {
  return Model::kRows * strips * 2 <= (Model::kScratch - kKept) * 4;
}

/// Mask bits of a strip, from the host's memory.
TM_DEVICE uint32_t strip_bits(const Args& a, uint32_t step, int row, int strip) {
  const uint32_t* words = box_of(a, step) + kMasks + row * ((a.vocab + 31) / 32);
  return load_foreign(words + strip / 2) >> (strip % 2 * 16) & 0xffff;
}

/// Waits for the step's box and takes its rules and this worker's part of its masks into shared
/// memory, in one trip. All consumers call this.
template <class P>
TM_DEVICE void take_rules(const Args& a, Smem& s, int tid) {
  const uint32_t step = s.step;
  const bool again = a.same_rules && step > 0;  // the rules are there
  const uint32_t* box = box_of(a, again ? 0 : step);
  if (tid == 0 && !again) {
    Spin spin;
    uint32_t seen;
    while ((seen = load_acquired(box)) != step + 1) {
      if (spin.late(kPatience)) fail(a, kBox, P::index, step & 1, seen, step + 1);
    }
  }
  bar_sync(1);
  uint32_t* to = reinterpret_cast<uint32_t*>(s.rules);
  if (!again)
    for (int i = tid; i < Model::kRows * 8; i += 256) to[i] = load_foreign(box + 8 + i);
  const uint4 r0 = s.ranges[P::index - 1][0], r1 = s.ranges[P::index - 1][1];
  const int strips = static_cast<int>(r0.y + r1.y);
  if (keeps_masks(strips)) {
    for (int i = tid; i < Model::kRows * strips; i += 256) {
      const int row = i / strips, at = i % strips, first = static_cast<int>(r0.y);
      if (again && !s.rules[row].masked) continue;
      const int strip = static_cast<int>(at < first ? r0.x : r1.x - r0.y) + at;
      kept_masks(s)[i] = static_cast<uint16_t>(strip_bits(a, again ? 0 : step, row, strip));
    }
  }
  bar_sync(1);
}

/// Whether the host wants another step after so many. By one thread; it may wait.
TM_DEVICE bool goes_on(const Args& a, uint32_t steps, uint32_t phase) {
  if (a.allowed == nullptr || steps >= a.steps) return true;
  Spin spin;
  while (true) {
    const uint32_t seen = load_acquired(a.allowed);
    if ((seen & ~kNever) > steps) return true;
    if (seen & kNever) return false;
    if (spin.late(kPatience)) fail(a, kAllowed, phase, 0, seen, steps + 1);
  }
}

}  // namespace treadle::mega
