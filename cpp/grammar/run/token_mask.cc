#include "grammar/run/token_mask.h"

#include <algorithm>
#include <cstring>

namespace treadle {

TokenMask::TokenMask(const MaskBits& bits, uint32_t count) : count_(count), listed_(count <= kFew) {
  if (!listed_) {
    words_.assign(bits.words().begin(), bits.words().end());
    return;
  }
  words_.reserve(count_);
  bits.each([&](uint32_t token) { words_.push_back(token); });
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

void TokenMask::add_to(MaskBits& bits) const {
  if (!listed_) return bits.add(words_);
  for (uint32_t token : words_) bits.set(token);
}

bool TokenMask::equals(const MaskBits& bits, uint32_t count) const {
  if (count != count_) return false;
  if (!listed_) return std::ranges::equal(words_, bits.words());
  return std::ranges::all_of(words_, [&](uint32_t token) { return bits.has(token); });
}

}  // namespace treadle
