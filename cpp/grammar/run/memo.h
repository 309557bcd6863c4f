// The mask memo of one compiler: finished masks of all its grammars, bounded in bytes.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/run/table.h"
#include "grammar/run/token_mask.h"
#include "support/lock.h"

namespace treadle {

// Where a mask lies; stale once the memo has dropped it.
struct MaskSlot {
  uint32_t index = UINT32_MAX;
  uint32_t generation = 0;
};

// The least recently used half goes when the budget is spent. Thread-safe.
class Memo {
 public:
  explicit Memo(uint64_t budget) : budget_(budget) {}

  // Copies the mask and sets `count` to its tokens; false when it is gone.
  bool copy(MaskSlot slot, std::span<uint32_t> row, uint32_t& count);
  // The same without the copy: the mask is there, and was used just now.
  bool touch(MaskSlot slot, uint32_t& count);
  // Equal masks share one slot, whatever states they come from.
  MaskSlot put(const MaskBits& bits, uint32_t count);
  void clear();
  uint64_t memory();

  MaskIds ids;

 private:
  struct Slot {
    TokenMask mask;
    uint32_t generation = 0;
    uint64_t used = 0;  // clock of the last use; 0: free
    uint64_t hash = 0;
  };
  static constexpr uint64_t kOverhead = sizeof(Slot) + 64;  // bytes of a slot beside its mask
  void sweep();
  void drop(uint32_t index);

  Lock lock_;
  uint64_t budget_;
  uint64_t bytes_ = 0;
  uint64_t clock_ = 0;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  std::unordered_map<uint64_t, uint32_t> by_hash_;  // the slot of a mask; one of those alike
};

}  // namespace treadle
