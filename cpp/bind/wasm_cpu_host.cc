// What takes the place of an operating system in the CPU module: clock and waiting.
#include <chrono>

#include "cpu/wait.h"

// Nobody traces here, and a real clock would be an import.
_LIBCPP_BEGIN_NAMESPACE_STD
namespace chrono {
steady_clock::time_point steady_clock::now() noexcept {
  return time_point();
}
}  // namespace chrono
_LIBCPP_END_NAMESPACE_STD

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
