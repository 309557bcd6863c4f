// Many matchers in one call.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/run/matcher.h"
#include "support/pool.h"

namespace treadle {

// Masks that are known are copied by the calling thread; those that have to be computed are spread
// over the pool. Calls from several threads at once are fine while their matchers differ.
class Batch {
 public:
  // 0: usual_threads().
  explicit Batch(size_t threads) : pool_(threads > 0 ? threads : usual_threads()) {}

  // Fills rows[index[i]] for matcher i. A matcher that fails gets a row of zeros and keeps its
  // error; the others are not disturbed. Returns the positions that failed, in order.
  std::vector<uint32_t> fill(std::span<Matcher* const> matchers, const MaskRows& rows,
                             std::span<const int64_t> index);
  // mask_id() of each matcher; returns the positions without a number, in order.
  static std::vector<uint32_t> mask_ids(std::span<Matcher* const> matchers, std::span<MaskId> out);
  // accept() for each pair; false for refused tokens and failed matchers.
  static std::vector<bool> accept(std::span<Matcher* const> matchers,
                                  std::span<const TokenId> tokens);

 private:
  Pool pool_;
};

}  // namespace treadle
