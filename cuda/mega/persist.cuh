// The persistent kernel: a producer warp, eight consumer warps and a feeder go through the same
// phases, step after step; `phases` is generated from the plan.
#pragma once

#include "leave.cuh"

namespace treadle::mega {

TM_DEVICE void persist(const Args& a) {
  Smem& s = *reinterpret_cast<Smem*>(shared_memory());
  const int tid = thread();
  if (tid == 0) {
    for (int i = 0; i < Model::kRing; i++) {
      mb_init(&s.full[i], 1);
      mb_init(&s.empty[i], kWarps);
    }
    mb_init(&s.go, 1);
    mb_init(&s.calm, 1);
    mb_init(&s.routed.ready, 1);
    for (int i = 0; i < kFeeds; i++) {
      mb_init(&s.feed_full[i], kLanes + 1);
      mb_init(&s.feed_empty[i], 1);
    }
    s.step = 0;
    s.now = a.epoch;
    s.over = 0;
    mb_publish();
  }
  for (int i = tid; i < Model::kPhases * 2; i += kThreads)
    s.ranges[i / 2][i % 2] = a.ranges[worker() * Model::kPhases * 2 + i];
  for (int i = tid; i < kWarps * Model::kRows; i += kThreads)
    s.best[0][i / Model::kRows][i % Model::kRows] = 0;
  if (tid < Model::kRows) {
    s.token[tid] = a.begin[tid].x;
    s.position[tid] = a.begin[tid].y;
  }
  bar_all();
  if (tid < kWarps * 32) {
    Consumer consumer(a, s);
    prepare<Attend>(a, s, tid);
    while (s.step < a.steps && !s.over) phases(consumer);
    if (s.over) {
      Drain drain{a, s, consumer.at, tid % 32};
      phases(drain);
    }
  } else if (tid == kWarps * 32) {
    Guarded producer(a, s);
    for (; producer.step < a.steps && !producer.over; producer.step++) {
      producer.begin();
      phases(producer);
    }
  } else if (kFed && tid >= (kWarps + 1) * 32) {
    Feeder feeder(a, s);
    for (; feeder.step < a.steps && !feeder.over; feeder.step++) {
      feeder.begin();
      phases(feeder);
    }
  }
}

}  // namespace treadle::mega

#ifdef TREADLE_HOST
/// Runs the kernel on fibers, args of each rank. 0, or 1 if a bounded wait ended. For tests: see
/// port_host.cuh.
extern "C" int treadle_mega_host(const treadle::mega::Args* args, uint64_t seed) {
  using namespace treadle::mega;
  return host::run(Model::kRanks, Model::kWorkers, sizeof(Smem), seed,
                   [&](int rank) { persist(args[rank]); })
             ? 0
             : 1;
}
extern "C" uint64_t treadle_mega_shared() {
  return sizeof(treadle::mega::Smem);
}
#else
static_assert(sizeof(treadle::mega::Smem) <= 232448);
extern "C" __device__ const uint32_t treadle_mega_shared = sizeof(treadle::mega::Smem);
extern "C" __global__ void __launch_bounds__(treadle::mega::kThreads, 1)
    treadle_mega_step(const __grid_constant__ treadle::mega::Args args) {
  treadle::mega::persist(args);
}
#endif
