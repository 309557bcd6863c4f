// Stands in the place of cpu/wait.cc where there is one worker.
#include "cpu/wait.h"

// One worker, which never waits: a counter that is not reached is a matter for the host.
namespace treadle::cpu {

void signal(Line& line) {
  line.value.fetch_add(1, std::memory_order_relaxed);
}

void rouse(Line&) {}

bool Patience::wait(Line& line, uint32_t target, const std::atomic<bool>&) {
  return line.reached(target);
}

}  // namespace treadle::cpu
