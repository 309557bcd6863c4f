#include "timer/memory.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "support/hash.h"

namespace treadle {

#if defined(__x86_64__)
namespace {

constexpr uintptr_t line = 64;

// The ordered form takes 300 ns a line on virtual machines, this one 2.
__attribute__((target("clflushopt"))) void flush_unordered(uintptr_t begin, uintptr_t end) {
  for (uintptr_t at = begin; at < end; at += line) _mm_clflushopt(reinterpret_cast<void*>(at));
  _mm_mfence();
}

void flush_ordered(uintptr_t begin, uintptr_t end) {
  for (uintptr_t at = begin; at < end; at += line) _mm_clflush(reinterpret_cast<void*>(at));
  _mm_mfence();
}

bool has_unordered() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 23 & 1);
}

}  // namespace
#endif

bool flush_lines(const void* data, size_t size) {
#if defined(__x86_64__)
  const auto begin = reinterpret_cast<uintptr_t>(data) & ~(line - 1);
  const auto end = reinterpret_cast<uintptr_t>(data) + size;
  static const bool unordered = has_unordered();
  (unordered ? flush_unordered : flush_ordered)(begin, end);
  return true;
#else
  (void)data, (void)size;
  return false;
#endif
}

uint64_t digest(const void* data, size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  constexpr uint64_t odd[4] = {0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9,
                               0xd6e8feb86659fd93};
  uint64_t lanes[4] = {size, size ^ odd[1], size ^ odd[2], size ^ odd[3]};
  size_t at = 0;
  for (; at + 32 <= size; at += 32) {
    uint64_t words[4];
    std::memcpy(words, bytes + at, sizeof words);
    for (int i = 0; i < 4; ++i) {
      const uint64_t h = (lanes[i] ^ words[i]) * odd[i];
      lanes[i] = h ^ (h >> 29);
    }
  }
  uint64_t h = mix(mix(lanes[0], lanes[1]), mix(lanes[2], lanes[3]));
  for (; at < size; ++at) h = mix(h, bytes[at]);
  return h;
}

size_t differing(const void* first, const void* second, size_t size) {
  const auto* a = static_cast<const unsigned char*>(first);
  const auto* b = static_cast<const unsigned char*>(second);
  constexpr size_t block = 4096;
  size_t found = 0;
  for (size_t at = 0; at < size; at += block) {
    const size_t n = size - at < block ? size - at : block;
    if (std::memcmp(a + at, b + at, n) == 0) continue;
    for (size_t i = at; i < at + n; ++i) found += a[i] != b[i];
  }
  return found;
}

}  // namespace treadle
