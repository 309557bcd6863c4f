// Rows of a transition table over bytes, filled as they are asked for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "support/bitset.h"

namespace treadle {

// 256 entries a row, allocated some rows at a time. A row never moves; clear() drops them all.
class ByteRows {
 public:
  // A row of `rest`, but `unknown` where a byte of `open` has to be looked into.
  uint32_t* make(const ByteSet& open, uint32_t unknown, uint32_t rest) {
    if (made_ % kBlock == 0) {
      blocks_.push_back(std::make_unique_for_overwrite<uint32_t[]>(kWidth * kBlock));
    }
    uint32_t* row = blocks_.back().get() + kWidth * (made_++ % kBlock);
    std::fill(row, row + kWidth, rest);
    open.each([&](uint8_t byte) { row[byte] = unknown; });
    return row;
  }
  void clear() {
    blocks_.clear();
    made_ = 0;
  }
  uint64_t size() const { return made_; }
  uint64_t memory() const { return blocks_.size() * kBlock * kWidth * sizeof(uint32_t); }

 private:
  static constexpr uint64_t kWidth = 256;
  static constexpr uint64_t kBlock = 16;

  std::vector<std::unique_ptr<uint32_t[]>> blocks_;
  uint64_t made_ = 0;
};

}  // namespace treadle
