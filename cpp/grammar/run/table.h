// Stable numbers for masks, so that a step can name a mask that lies on the device already.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "grammar/run/rows.h"
#include "support/lock.h"

namespace treadle {

inline constexpr MaskId kNothingLegal = 0;  // the row of zeros after a stop token

// A mask is a slot of the memo in one generation, with or without certain stop tokens. Its number
// is given once and never again to another mask, so rows that a device keeps by number are right
// for ever; a mask that was dropped and computed again gets a new one. After 2^31 - 1 numbers every
// new mask is kStagedMask. Thread-safe.
class MaskIds {
 public:
  // The number of a list of stop tokens; kManyStops when there are too many different ones.
  uint32_t stops(std::span<const uint32_t> sorted);
  MaskId find(uint32_t slot, uint32_t generation, uint32_t stops, bool accepting);

  static constexpr uint32_t kManyStops = UINT32_MAX;

 private:
  static constexpr size_t kMostStops = 4'096;
  struct Entry {
    uint32_t generation = 0;
    std::vector<std::pair<uint64_t, MaskId>> ids;  // by stop tokens and whether they are legal
  };

  Lock lock_;
  std::vector<Entry> slots_;
  std::map<std::vector<uint32_t>, uint32_t> stops_;
  MaskId next_ = kNothingLegal + 1;
};

}  // namespace treadle
