#include "cpu/wait.h"

#include <algorithm>
#include <climits>

#include "cpu/clock.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

namespace treadle::cpu {

namespace {

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#if defined(__linux__)
static_assert(sizeof(std::atomic<uint32_t>) == 4);

long futex(std::atomic<uint32_t>& word, int operation, uint32_t value, const timespec* timeout) {
  return syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}

void sleep_on(std::atomic<uint32_t>& word, uint32_t seen) {
  const timespec nap{0, 50'000'000};  // a lost wake-up, if there ever were one, costs this much
  futex(word, FUTEX_WAIT, seen, &nap);
}

void wake(std::atomic<uint32_t>& word) {
  futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}
#elif defined(__wasm_atomics__)
static_assert(sizeof(std::atomic<uint32_t>) == 4);

void sleep_on(std::atomic<uint32_t>& word, uint32_t seen) {
  __builtin_wasm_memory_atomic_wait32(reinterpret_cast<int*>(&word), static_cast<int>(seen),
                                      50'000'000);
}

void wake(std::atomic<uint32_t>& word) {
  __builtin_wasm_memory_atomic_notify(reinterpret_cast<int*>(&word), UINT_MAX);
}
#else
void sleep_on(std::atomic<uint32_t>& word, uint32_t seen) {
  word.wait(seen);
}

void wake(std::atomic<uint32_t>& word) {
  word.notify_all();
}
#endif

// Time since it was made. WebAssembly has no clock of its own: there a look stands for the turns
// before it, about 2 ns each.
class Elapsed {
 public:
  static constexpr int turns = 32;  // between two looks, since the clock costs as much as some

  int64_t ns() {
#if defined(__wasm__)
    return since_ += int64_t{2} * turns;
#else
    return now_ns() - since_;
#endif
  }

 private:
#if defined(__wasm__)
  int64_t since_ = 0;
#else
  int64_t since_ = now_ns();
#endif
};

}  // namespace

void signal(Line& line) {
  // Sequentially consistent on both sides: either this thread sees the sleeper, or the sleeper
  // sees the new value before it sleeps.
  line.value.fetch_add(1, std::memory_order_seq_cst);
  if (line.parked.load(std::memory_order_seq_cst)) wake(line.value);
}

void rouse(Line& line) {
  wake(line.value);
}

bool Patience::wait(Line& line, uint32_t target, const std::atomic<bool>& stop) {
  if (line.reached(target)) return true;
  const bool look = slept_ % 64 == 63;
  const int64_t patience = look ? most : spin_;
  Elapsed elapsed;
  do {
    for (int turn = 0; turn < Elapsed::turns; ++turn) {
      relax();
      if (!line.reached(target)) continue;
      spin_ = look ? most : std::min(most, spin_ * 2);
      slept_ = 0;
      return true;
    }
  } while (elapsed.ns() < patience);
  spin_ = std::max(least, spin_ / 2);
  ++slept_;
  line.parked.fetch_add(1, std::memory_order_seq_cst);
  bool arrived = false;
  while (!stop.load(std::memory_order_seq_cst)) {
    const uint32_t seen = line.value.load(std::memory_order_seq_cst);
    arrived = static_cast<int32_t>(seen - target) >= 0;
    if (arrived) break;
    sleep_on(line.value, seen);
  }
  line.parked.fetch_sub(1, std::memory_order_seq_cst);
  return arrived;
}

}  // namespace treadle::cpu
