// The mask memo of one compiler: finished masks of all its grammars, bounded in bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/run/table.h"
#include "support/lock.h"

namespace treadle {

// A set of tokens, as sorted ids while they are few, else one bit a token (V / 32 + 1 words).
class TokenMask {
 public:
  TokenMask() = default;
  // `bits`: V / 32 + 1 words.
  explicit TokenMask(std::vector<uint32_t> bits);

  // Writes V / 32 rounded up words and clears the rest of the row.
  void copy_to(std::span<uint32_t> row) const;
  uint32_t count() const { return count_; }
  uint64_t memory() const { return words_.size() * sizeof(uint32_t); }

 private:
  static constexpr uint32_t kFew = 512;

  std::vector<uint32_t> words_;
  uint32_t count_ = 0;
  bool listed_ = false;
};

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
  MaskSlot put(TokenMask mask);
  void clear();
  uint64_t memory();

  MaskIds ids;

 private:
  struct Slot {
    TokenMask mask;
    uint32_t generation = 0;
    uint64_t used = 0;  // clock of the last use; 0: free
  };
  static constexpr uint64_t kOverhead = sizeof(Slot) + 16;  // bytes of a slot beside its mask
  void sweep();
  void drop(uint32_t index);

  Lock lock_;
  uint64_t budget_;
  uint64_t bytes_ = 0;
  uint64_t clock_ = 0;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace treadle
