// The only place that knows about threads: where there are none (wasm), a lock compiles to nothing.
#pragma once

#if !defined(__wasm__)
#include <mutex>
#endif

namespace treadle {

#if defined(__wasm__)
struct Lock {};
struct Guard {
  explicit Guard(Lock&) {}
};
#else
using Lock = std::mutex;
using Guard = std::lock_guard<std::mutex>;
#endif

}  // namespace treadle
