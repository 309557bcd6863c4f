// Transitions over bytes where there are few: those of most states, in a twentieth of a row.
#pragma once

#include <cstdint>
#include <vector>

#include "support/bitset.h"

namespace treadle {

// A list a source (a state, numbered from 0) of which set of bytes leads where.
class ByteMoves {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;  // no target may be this
  static constexpr uint32_t kMost = 8;           // moves of one source

  // The target by `byte`; kNone when no move says.
  uint32_t find(uint32_t source, uint8_t byte) const {
    if (source >= heads_.size()) return kNone;
    for (uint32_t at = heads_[source]; at != kNone; at = moves_[at].next) {
      if (moves_[at].bytes.contains(byte)) return moves_[at].to;
    }
    return kNone;
  }
  bool any(uint32_t source) const { return source < heads_.size() && heads_[source] != kNone; }
  // False, and nothing is added, when the source has kMost of them.
  bool add(uint32_t source, const ByteSet& bytes, uint32_t to) {
    if (source >= heads_.size()) heads_.resize(source + 1, kNone);
    uint32_t count = 0;
    for (uint32_t at = heads_[source]; at != kNone; at = moves_[at].next) ++count;
    if (count == kMost) return false;
    moves_.push_back({bytes, to, heads_[source]});
    heads_[source] = static_cast<uint32_t>(moves_.size() - 1);
    return true;
  }
  // Writes the moves of `source` into a row of 256 and forgets them.
  void give(uint32_t source, uint32_t* row) {
    if (source >= heads_.size()) return;
    for (uint32_t at = heads_[source]; at != kNone; at = moves_[at].next) {
      moves_[at].bytes.each([&](uint8_t byte) { row[byte] = moves_[at].to; });
    }
    heads_[source] = kNone;
  }
  void clear() {
    heads_.clear();
    moves_.clear();
  }
  uint64_t memory() const {
    return moves_.capacity() * sizeof(Move) + heads_.capacity() * sizeof(uint32_t);
  }

 private:
  struct Move {
    ByteSet bytes;
    uint32_t to;
    uint32_t next;  // of the same source; kNone: no more
  };
  std::vector<Move> moves_;
  std::vector<uint32_t> heads_;  // by source
};

}  // namespace treadle
