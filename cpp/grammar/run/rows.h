// Rows of packed masks in somebody's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace treadle {

// What takes the place of a row of masks: the number of one, or one of these.
using MaskId = int32_t;
inline constexpr MaskId kNoMask = -1;      // nothing is masked
inline constexpr MaskId kStagedMask = -2;  // the row itself, staged at the same position

// Row i begins at data + i * stride and has `words` words.
struct MaskRows {
  uint32_t* data = nullptr;
  int64_t rows = 0;
  int64_t words = 0;
  int64_t stride = 0;  // in words

  std::span<uint32_t> row(int64_t i) const {
    return {data + i * stride, static_cast<size_t>(words)};
  }
};

}  // namespace treadle
