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

/// Waits for the step's box and takes its rules into shared memory. All consumers call this.
TM_DEVICE void take_rules(const Args& a, Smem& s, int tid, uint32_t phase) {
  const uint32_t step = s.step;
  if (a.same_rules && step > 0) return;
  const uint32_t* box = box_of(a, step);
  if (tid == 0) {
    Spin spin;
    uint32_t seen;
    while ((seen = load_acquired(box)) != step + 1) {
      if (spin.late(kPatience)) fail(a, kBox, phase, step & 1, seen, step + 1);
    }
  }
  bar_sync(1);
  uint32_t* to = reinterpret_cast<uint32_t*>(s.rules);
  for (int i = tid; i < Model::kRows * 8; i += 256) to[i] = load_foreign(box + 8 + i);
  bar_sync(1);
}

/// Bits of the 16-token strip's four tokens from `token` on that the row may draw.
TM_DEVICE uint32_t legal_bits(const Args& a, uint32_t step, int row, int token) {
  const uint32_t* words = box_of(a, step) + kMasks + row * ((a.vocab + 31) / 32);
  return load_foreign(words + token / 32) >> (token % 32) & 15;
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
