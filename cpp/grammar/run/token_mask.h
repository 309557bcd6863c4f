// A set of tokens in little memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/run/mask_bits.h"

namespace treadle {

// Sorted ids while they are few, else one bit a token.
class TokenMask {
 public:
  TokenMask() = default;
  explicit TokenMask(const MaskBits& bits) : TokenMask(bits, bits.count()) {}
  TokenMask(const MaskBits& bits, uint32_t count);

  // Writes V / 32 rounded up words and clears the rest of the row.
  void copy_to(std::span<uint32_t> row) const;
  // Adds the tokens to `bits`.
  void add_to(MaskBits& bits) const;
  bool equals(const MaskBits& bits, uint32_t count) const;
  uint32_t count() const { return count_; }
  uint64_t memory() const { return words_.size() * sizeof(uint32_t); }

 private:
  static constexpr uint32_t kFew = 512;

  std::vector<uint32_t> words_;
  uint32_t count_ = 0;
  bool listed_ = true;
};

}  // namespace treadle
