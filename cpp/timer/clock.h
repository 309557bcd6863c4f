// The clock of every measurement: monotonic nanoseconds, never set back.
#pragma once

#include <cstdint>

namespace treadle {

int64_t clock_ns();

// Smallest step between two readings that differ, in nanoseconds.
int64_t clock_step_ns();

}  // namespace treadle
