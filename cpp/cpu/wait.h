// Counters that workers wait for: spin first, then sleep on a futex.
#pragma once

#include <atomic>
#include <cstdint>

namespace treadle::cpu {

// One counter a cache line. Monotone; never reset.
struct alignas(64) Line {
  std::atomic<uint32_t> value = 0;
  std::atomic<uint32_t> parked = 0;  // how many sleep on it

  bool reached(uint32_t target) const {
    return static_cast<int32_t>(value.load(std::memory_order_acquire) - target) >= 0;
  }
};
static_assert(sizeof(Line) == 64);

// Adds one, after everything this thread stored; wakes who sleeps.
void signal(Line& line);

// Wakes all sleepers of a line so that they look at their stop flag.
void rouse(Line& line);

// How long this thread spins before it sleeps: halved by each sleep, doubled by each wait that
// ended while it spun. Threads that share a processor so come to give it to each other at once. But
// so do threads that were put aside for a moment, since one that sleeps is late for the others:
// every 64th wait that would be a sleep spins for long, and if it ends meanwhile, so do those after
// it.
class Patience {
 public:
  // False if `stop` was set before the line reached the target.
  bool wait(Line& line, uint32_t target, const std::atomic<bool>& stop);

 private:
  static constexpr int64_t most = 60'000,
                           least = 500;  // ns; to sleep and be woken takes some 30,000
  int64_t spin_ = most;
  uint32_t slept_ = 0;  // times since a wait last ended while it spun
};

}  // namespace treadle::cpu
