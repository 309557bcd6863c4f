// Two processes meet at a 64-bit word in shared memory: one posts a value, the other spins for a
// while and then sleeps in the kernel until the word has that value.
#pragma once

#include <atomic>
#include <cstdint>

namespace treadle {

// A word and the count of those asleep on it, alone on a cache line.
struct alignas(64) Word {
  std::atomic<uint64_t> value;
  std::atomic<uint32_t> sleepers;
  std::atomic<uint32_t> beat;  // moves while somebody spins on the word
};

static_assert(sizeof(Word) == 64 && std::atomic<uint64_t>::is_always_lock_free);

void post(Word& word, uint64_t value);

// Wakes whoever sleeps on the word without changing it: they spin again for a while.
void nudge(Word& word);

struct Seen {
  int64_t at;      // clock when the word moved; -1 if the time was up first
  uint64_t value;  // what it held then
};

// Waits until the word is no longer `old`. Spins `spin_ns`, then sleeps; a nudge, or a stop of the
// whole process while it spins, starts the spinning anew.
Seen await_change(Word& word, uint64_t old, int64_t spin_ns, int64_t timeout_ns);

// Posts `value` to `go` and waits for `done` to leave `old`: the interval that counts.
struct Interval {
  int64_t start;
  Seen end;
};

Interval call(Word& go, uint64_t value, Word& done, uint64_t old, int64_t spin_ns,
              int64_t timeout_ns);

}  // namespace treadle
