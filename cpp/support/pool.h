// Worker threads for loops whose rounds do not depend on each other.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace treadle {

// `threads` includes the thread that calls run(); the others start with the first loop that needs
// them. Without threads (wasm, or a system that refuses them) the caller does all the work. Loops
// of several callers run at the same time; none waits for a thread that is busy elsewhere.
class Pool {
 public:
  explicit Pool(size_t threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Calls round(0) to round(count - 1), in any order, and returns when all have returned.
  void run(size_t count, const std::function<void(size_t)>& round);

 private:
  struct Shared;
  size_t helpers_;
  std::shared_ptr<Shared> shared_;
};

// Half of the machine's cores, 8 at most, at least one.
size_t usual_threads();

}  // namespace treadle
