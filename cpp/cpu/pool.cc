#include "cpu/pool.h"

#include <algorithm>
#include <cstdio>

#if defined(__linux__)
#include <sched.h>
#endif

namespace treadle::cpu {

namespace {

// The quota of version 2 or 1 of control groups, rounded up to whole processors; 0: none.
size_t quota() {
  double limit = 0, period = 0;
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    const int found = std::fscanf(file, "%lf %lf", &limit, &period);
    std::fclose(file);
    if (found != 2) limit = 0;  // "max"
  } else if (std::FILE* old = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) {
    if (std::fscanf(old, "%lf", &limit) != 1) limit = 0;
    std::fclose(old);
    if (std::FILE* each = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r")) {
      if (std::fscanf(each, "%lf", &period) != 1) period = 0;
      std::fclose(each);
    }
  }
  if (limit <= 0 || period <= 0) return 0;
  return std::max<size_t>(1, static_cast<size_t>(limit / period + 0.999));
}

}  // namespace

size_t usable_processors() {
  size_t count = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    count = std::max<size_t>(1, static_cast<size_t>(CPU_COUNT(&set)));
  }
#endif
  const size_t allowed = quota();
  return allowed ? std::min(count, allowed) : count;
}

WorkerThreads::WorkerThreads(Runner& runner) : runner_(runner) {
  for (size_t w = 0; w < runner.workers(); ++w) {
    threads_.emplace_back([&runner, w] { runner.work(w); });
  }
}

WorkerThreads::~WorkerThreads() {
  runner_.stop();
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace treadle::cpu
