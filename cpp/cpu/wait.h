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
// ended while it spun.
class Patience {
 public:
  // False if `stop` was set before the line reached the target.
  bool wait(Line& line, uint32_t target, const std::atomic<bool>& stop);
  uint32_t turns() const { return turns_; }

 private:
  static constexpr uint32_t most = 2000, least = 16;
  uint32_t turns_ = most;
};

}  // namespace treadle::cpu
