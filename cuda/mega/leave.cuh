// Leaving before the last step: the producer is ahead by then, and a worker may not go while copies
// are on their way to its memory.
#pragma once

#include "consumer.cuh"

namespace treadle::mega {

/// A producer that learns at its first wait of a step whether there is that step at all.
struct Guarded : Producer {
  bool over = false;

  TM_DEVICE Guarded(const Args& args, Smem& smem) : Producer(args, smem) {}

  template <class P>
  TM_DEVICE void linear(int layer) {
    if (!over) Producer::linear<P>(layer);
  }
  template <class P>
  TM_DEVICE void attend(int layer) {
    if (!over && !ready) {
      mb_wait(a, &shared.go, step & 1, kStep, P::index);
      over = *const_cast<volatile uint32_t*>(&shared.over) != 0;
    }
    if (!over) Producer::attend<P>(layer);
  }
};

/// Takes what the producer has sent for in vain: the weights before the step's first attention.
struct Drain {
  const Args& a;
  Smem& s;
  Place at;
  int lane;
  bool over = false;

  template <class P>
  TM_DEVICE void linear(int) {
    if (over) return;
    for (int part = 0; part < 2; part++) {
      const uint4 r = s.ranges[P::index][part];
      const int first = first_column<P>(r.z), end = end_column<P>(r.z);
      for (uint32_t strip = 0; strip < r.y; strip++) {
#pragma unroll 1
        for (int column = first; column < end; column += Form<P::form>::kSpan) {
          mb_wait(a, &s.full[at.slot], at.turn, kFull, P::index);
          warp_sync();
          if (Model::kStrict || lane == 0) mb_arrive(&s.empty[at.slot]);
          at.next();
        }
      }
    }
  }
  template <class P>
  TM_DEVICE void attend(int) {
    over = true;
  }
  template <class P>
  TM_DEVICE void prepare_rows(int) {}
  template <class P>
  TM_DEVICE void fold(int) {}
  template <class P>
  TM_DEVICE void draw(int) {}
};

}  // namespace treadle::mega
