// Many matchers in one call.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/run/matcher.h"

namespace treadle {

// Rows of packed masks: row i begins at data + i * stride and has `words` words.
struct MaskRows {
  uint32_t* data = nullptr;
  int64_t rows = 0;
  int64_t words = 0;
  int64_t stride = 0;  // in words

  std::span<uint32_t> row(int64_t i) const {
    return {data + i * stride, static_cast<size_t>(words)};
  }
};

// Fills rows[index[i]] for matcher i. A matcher that fails gets a row of zeros and keeps its error;
// the others are not disturbed. Returns the positions that failed.
std::vector<uint32_t> fill_batch(std::span<Matcher* const> matchers, const MaskRows& rows,
                                 std::span<const int64_t> index);

// accept() for each pair; false for refused tokens and failed matchers.
std::vector<bool> accept_batch(std::span<Matcher* const> matchers, std::span<const TokenId> tokens);

}  // namespace treadle
