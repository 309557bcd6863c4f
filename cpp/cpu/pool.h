// Threads that live as long as a runner: one a worker.
#pragma once

#include <cstddef>
#include <thread>
#include <vector>

#include "cpu/runner.h"

namespace treadle::cpu {

// Processors this process may really use: its affinity mask, cut by the cgroup's quota.
size_t usable_processors();

// Starts the workers; stops and joins them when it goes, before the runner does.
class WorkerThreads {
 public:
  explicit WorkerThreads(Runner& runner);
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

 private:
  Runner& runner_;
  std::vector<std::thread> threads_;
};

}  // namespace treadle::cpu
