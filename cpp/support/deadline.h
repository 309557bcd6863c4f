// The moment at which a caller wants to have what is ready.
#pragma once

#include <chrono>
#include <optional>

namespace treadle {

using Deadline = std::optional<std::chrono::steady_clock::time_point>;

#if defined(__wasm__)

// The module has no clock: it would be an import, and its library's error path a whole stdio.
// Callers there set no deadline.
inline bool is_past(const Deadline&) {
  return false;
}

#else

inline bool is_past(const Deadline& deadline) {
  return deadline && std::chrono::steady_clock::now() > *deadline;
}

#endif

}  // namespace treadle
