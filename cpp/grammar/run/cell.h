// Continuations: what follows once the current residual is complete, as hash-consed stack cells.
#pragma once

#include <cstdint>
#include <vector>

#include "grammar/ir/node.h"
#include "support/flat_map.h"

namespace treadle {

using CellId = uint32_t;
inline constexpr CellId kBottom = 0;  // nothing follows: the text may end here

struct Cell {
  NodeRef rest = 0;         // what comes next
  CellId parent = kBottom;  // and what comes after that
  uint32_t depth = 0;       // cells below, the bottom not counted
};

// Equal stacks are one cell, so comparing continuations is comparing ids, and states that differ
// only far below share everything above.
class Cells {
 public:
  Cells() : cells_(1) {}

  CellId push(NodeRef rest, CellId parent) {
    uint64_t key = uint64_t{rest} << 32 | parent;
    uint32_t found = index_.find(key);
    if (found != FlatMap::kNone) return found;
    auto fresh = static_cast<CellId>(cells_.size());
    cells_.push_back({rest, parent, cells_[parent].depth + 1});
    index_.set(key, fresh);
    return fresh;
  }
  const Cell& operator[](CellId id) const { return cells_[id]; }
  uint64_t size() const { return cells_.size(); }
  uint64_t memory() const { return cells_.size() * sizeof(Cell) + index_.memory(); }

 private:
  std::vector<Cell> cells_;
  FlatMap index_;
};

}  // namespace treadle
