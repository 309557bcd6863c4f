#include "grammar/run/token_mask.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace treadle {

namespace {

// The base build may not use the instruction, so the loader picks a version.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
__attribute__((target_clones("popcnt", "default")))
#endif
uint32_t ones(std::span<const uint32_t> words) {
  uint64_t total = 0;
  size_t i = 0;
  for (; i + 2 <= words.size(); i += 2) {
    total += static_cast<uint64_t>(std::popcount(words[i] | uint64_t{words[i + 1]} << 32));
  }
  if (i < words.size()) total += static_cast<uint64_t>(std::popcount(words[i]));
  return static_cast<uint32_t>(total);
}

}  // namespace

TokenMask::TokenMask(std::span<const uint32_t> bits) {
  count_ = ones(bits);
  listed_ = count_ <= kFew;
  if (!listed_) {
    words_.assign(bits.begin(), bits.end());
    return;
  }
  words_.reserve(count_);
  for (size_t i = 0; i < bits.size() && words_.size() < count_; ++i) {
    for (uint32_t word = bits[i]; word; word &= word - 1) {
      words_.push_back(static_cast<uint32_t>(i * 32) +
                       static_cast<uint32_t>(std::countr_zero(word)));
    }
  }
}

void TokenMask::copy_to(std::span<uint32_t> row) const {
  if (listed_) {
    std::memset(row.data(), 0, row.size_bytes());
    for (uint32_t token : words_) row[token >> 5] |= uint32_t{1} << (token & 31);
    return;
  }
  size_t words = std::min(words_.size(), row.size());
  std::memcpy(row.data(), words_.data(), words * sizeof(uint32_t));
  std::fill(row.begin() + static_cast<std::ptrdiff_t>(words), row.end(), 0u);
}

void TokenMask::add_to(std::span<uint32_t> bits) const {
  if (listed_) {
    for (uint32_t token : words_) bits[token >> 5] |= uint32_t{1} << (token & 31);
    return;
  }
  size_t words = std::min(words_.size(), bits.size());
  for (size_t i = 0; i < words; ++i) bits[i] |= words_[i];
}

}  // namespace treadle
