// Continuations: what follows once the current residual is complete, as hash-consed stack cells.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "grammar/ir/node.h"

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
    auto [found, fresh] = index_.try_emplace(key, static_cast<CellId>(cells_.size()));
    if (fresh) cells_.push_back({rest, parent, cells_[parent].depth + 1});
    return found->second;
  }
  const Cell& operator[](CellId id) const { return cells_[id]; }
  uint64_t size() const { return cells_.size(); }
  uint64_t memory() const { return cells_.size() * (sizeof(Cell) + 40); }

 private:
  std::vector<Cell> cells_;
  std::unordered_map<uint64_t, CellId> index_;
};

}  // namespace treadle
