#include "grammar/run/mask_bits.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace treadle {

namespace {

uint64_t word_at(const uint32_t* words) {
  uint64_t word;
  std::memcpy(&word, words, sizeof word);
  return word;
}

// The base build may not use the instructions, so the loader picks a version; under ThreadSanitizer
// it cannot, for that is not up yet when it loads.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && \
    !defined(__SANITIZE_THREAD__)
#define TREADLE_CLONES(...) __attribute__((target_clones(__VA_ARGS__, "default")))
#else
#define TREADLE_CLONES(...)
#endif

TREADLE_CLONES("popcnt")
uint32_t ones(const uint32_t* words, size_t count) {
  int total = 0;
  for (size_t i = 0; i < count; i += 2) total += std::popcount(word_at(words + i));
  return static_cast<uint32_t>(total);
}

constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;
constexpr size_t kLanes = 8;  // 64-bit words of a line
using Lanes __attribute__((vector_size(kLanes * sizeof(uint64_t)))) = uint64_t;

// Adds the lines from `line` on to `sums`.
TREADLE_CLONES("arch=x86-64-v4", "avx2")
void add_lines(const uint32_t* words, size_t line, size_t count, uint64_t* sums) {
  Lanes total, places;
  std::memcpy(&total, sums, sizeof total);
  for (size_t i = 0; i < kLanes; ++i) places[i] = i * 0xd1b54a32d192ed03;
  for (size_t past = line + count; line < past; ++line, words += 2 * kLanes) {
    Lanes word;
    std::memcpy(&word, words, sizeof word);
    const Lanes keyed = word ^ (places + (line + 1) * kOdd);
    const Lanes sum = (keyed & 0xFFFFFFFF) * (keyed >> 32) + (word << 32 | word >> 32);
    total += sum & (word != 0);  // whether the line was touched must not count
  }
  std::memcpy(sums, &total, sizeof total);
}

}  // namespace

uint32_t* MaskBits::open() {
  full_ = true;
  return words_.data();
}

void MaskBits::add(std::span<const uint32_t> row) {
  uint32_t* words = open();
  for (size_t i = 0; i < std::min(row.size(), words_.size()); ++i) words[i] |= row[i];
}

void MaskBits::reset() {
  if (words_.empty()) {
    words_.resize(size_t{tokens_ / kLine + 1} * kLineWords);
    dirty_.resize(tokens_ / (kLine * 64) + 1);
    return;
  }
  if (full_) {
    std::ranges::fill(words_, 0u);
  } else {
    each_line([&](size_t line) { std::fill_n(words_.data() + line * kLineWords, kLineWords, 0u); });
  }
  std::ranges::fill(dirty_, 0u);
  full_ = false;
}

void MaskBits::settle() {
  size_t lines = 0;
  for (uint64_t word : dirty_) lines += static_cast<size_t>(std::popcount(word));
  if (lines * kScattered > words_.size() / kLineWords) full_ = true;
}

uint32_t MaskBits::count() const {
  if (full_) return ones(words_.data(), words_.size());
  uint32_t total = 0;
  each_line([&](size_t line) { total += ones(words_.data() + line * kLineWords, kLineWords); });
  return total;
}

uint64_t MaskBits::hash() const {
  static_assert(kLineWords == 2 * kLanes);
  uint64_t sums[kLanes] = {};
  if (full_) {
    add_lines(words_.data(), 0, words_.size() / kLineWords, sums);
  } else {
    each_line([&](size_t line) { add_lines(words_.data() + line * kLineWords, line, 1, sums); });
  }
  uint64_t h = 0;
  for (uint64_t sum : sums) {
    h = (h ^ sum) * kOdd;
    h ^= h >> 29;
  }
  return h;
}

void MaskBits::copy_to(std::span<uint32_t> row) const {
  if (full_) {
    size_t words = std::min(row.size(), words_.size());
    std::memcpy(row.data(), words_.data(), words * sizeof(uint32_t));
    std::ranges::fill(row.subspan(words), 0u);
    return;
  }
  std::ranges::fill(row, 0u);
  each_line([&](size_t line) {
    size_t from = line * kLineWords;
    if (from >= row.size()) return;
    size_t words = std::min(kLineWords, row.size() - from);
    std::memcpy(row.data() + from, words_.data() + from, words * sizeof(uint32_t));
  });
}

}  // namespace treadle
