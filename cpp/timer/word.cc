#include "timer/word.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "timer/clock.h"

namespace treadle {

namespace {

constexpr int64_t pause_ns = 1'000'000;  // between two looks: the process was stopped meanwhile
constexpr int64_t nap_ns = 50'000'000;   // a word that changes without a wake is seen this late

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A futex is 32 bits wide: the low half, at the word's own address on the machines we build for.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

long futex(Word& word, int operation, uint32_t value, const timespec* timeout) {
  return syscall(SYS_futex, &word.value, operation, value, timeout, nullptr, 0);
}

// Whether somebody woke it, rather than time.
bool sleep_on(Word& word, uint64_t old, int64_t left_ns) {
  const int64_t nap = std::clamp<int64_t>(left_ns, 1, nap_ns);
  const timespec timeout{nap / 1'000'000'000, nap % 1'000'000'000};
  word.sleepers.fetch_add(1, std::memory_order_seq_cst);
  bool woken = true;
  if (word.value.load(std::memory_order_seq_cst) == old) {
    woken = futex(word, FUTEX_WAIT, static_cast<uint32_t>(old), &timeout) == 0;
  }
  word.sleepers.fetch_sub(1, std::memory_order_seq_cst);
  return woken;
}

}  // namespace

void post(Word& word, uint64_t value) {
  word.value.store(value, std::memory_order_seq_cst);
  if (word.sleepers.load(std::memory_order_seq_cst)) futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

void nudge(Word& word) {
  futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

Seen await_change(Word& word, uint64_t old, int64_t spin_ns, int64_t timeout_ns) {
  const int64_t start = clock_ns();
  int64_t spin_end = start + spin_ns;
  int64_t last = start;
  for (;;) {
    const uint64_t value = word.value.load(std::memory_order_acquire);
    const int64_t now = clock_ns();
    if (value != old) return {now, value};
    if (now - start >= timeout_ns) return {-1, value};
    if (now - last > pause_ns) spin_end = now + spin_ns;
    last = now;
    word.beat.fetch_add(1, std::memory_order_relaxed);
    if (now < spin_end) {
      relax();
    } else {
      const bool woken = sleep_on(word, old, timeout_ns - (now - start));
      last = clock_ns();  // a nap is no stop
      if (woken) spin_end = last + spin_ns;
    }
  }
}

Interval call(Word& go, uint64_t value, Word& done, uint64_t old, int64_t spin_ns,
              int64_t timeout_ns) {
  const int64_t start = clock_ns();
  post(go, value);
  return {start, await_change(done, old, spin_ns, timeout_ns)};
}

}  // namespace treadle
