// The steady clock in nanoseconds.
#pragma once

#include <chrono>
#include <cstdint>

namespace treadle::cpu {

inline int64_t now_ns() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace treadle::cpu
