// A set of tokens in little memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace treadle {

// Sorted ids while they are few, else one bit a token (V / 32 + 1 words).
class TokenMask {
 public:
  TokenMask() = default;
  // `bits`: V / 32 + 1 words.
  explicit TokenMask(std::span<const uint32_t> bits);

  // Writes V / 32 rounded up words and clears the rest of the row.
  void copy_to(std::span<uint32_t> row) const;
  // Adds the tokens to `bits`.
  void add_to(std::span<uint32_t> bits) const;
  uint32_t count() const { return count_; }
  uint64_t memory() const { return words_.size() * sizeof(uint32_t); }

 private:
  static constexpr uint32_t kFew = 512;

  std::vector<uint32_t> words_;
  uint32_t count_ = 0;
  bool listed_ = true;
};

}  // namespace treadle
