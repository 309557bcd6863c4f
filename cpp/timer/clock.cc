#include "timer/clock.h"

#include <time.h>

#include <algorithm>

namespace treadle {

int64_t clock_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

int64_t clock_step_ns() {
  int64_t step = INT64_MAX;
  for (int tries = 0; tries < 64; ++tries) {
    const int64_t first = clock_ns();
    int64_t next = first;
    while (next == first) next = clock_ns();
    step = std::min(step, next - first);
  }
  return step;
}

}  // namespace treadle
