// Residuals as one deterministic automaton over bytes, whatever continuation stands behind them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/ir/store.h"
#include "support/byte_moves.h"
#include "support/byte_rows.h"

namespace treadle {

using ResidualId = uint32_t;
inline constexpr ResidualId kDeadResidual = 0;
// In a trie walk the children of a node are looked up rather than scanned for where at most
// kNarrow bytes go on and the subtree has kBushy nodes or more.
inline constexpr unsigned kNarrow = 6;
inline constexpr uint32_t kBushy = 48;

// Rows of 256 entries, filled as they are asked for. States are made of residuals and
// continuations; a token is mostly read by a residual alone, and different states then share these
// rows. Not thread-safe: guarded like the store.
class Residuals {
 public:
  // An entry of a row: the residual after the byte, with kEnds set when the text may end there.
  static constexpr uint32_t kEnds = uint32_t{1} << 31;
  static constexpr uint32_t kUnknown = kEnds - 1;
  static constexpr uint32_t kFault = kUnknown - 1;  // the store holds the fault

  // A text that a residual begins with, and the residual behind it.
  struct Literal {
    std::string_view text;  // valid until the store makes a node; empty: the residual begins so not
    NodeRef tail = 0;
  };

  Residuals(Store& store, uint64_t budget);

  // A regular node without a dead end in it: kDeadResidual for the empty one.
  ResidualId of(NodeRef node);
  // The entry that leads to such a node.
  uint32_t entry_of(NodeRef node) {
    return of(node) | (store_.node(node).facts.nullable ? kEnds : 0);
  }
  NodeRef node(ResidualId id) const { return nodes_[id]; }
  // The bytes that may go on. Valid until another residual is asked for.
  const ByteSet& first(ResidualId id) {
    if (!asked_[id]) ask(id);
    return firsts_[id];
  }
  Literal literal(ResidualId id) const;
  bool narrow(ResidualId id) { return first(id).count() <= kNarrow; }
  // Valid until trim().
  const uint32_t* row(ResidualId id) { return rows_[id] ? rows_[id] : make_row(id); }
  // The entry of `byte`, found out if it is not known yet.
  uint32_t step(ResidualId id, uint8_t byte, Fuel& fuel) {
    uint32_t known = peek(id, byte);
    return known != kUnknown && store_.ok() ? known : find_out(id, byte, fuel);
  }
  // Drops every row and id when they hold more than the budget. Not while a walk goes on.
  void trim();
  uint64_t memory() const;

 private:
  void ask(ResidualId id);
  uint32_t* make_row(ResidualId id);
  uint32_t peek(ResidualId id, uint8_t byte) const {
    if (rows_[id]) return rows_[id][byte];
    if (asked_[id] && !firsts_[id].contains(byte)) return kDeadResidual;
    const uint32_t known = moves_.find(id, byte);
    return known == ByteMoves::kNone ? kUnknown : known;
  }
  uint32_t find_out(ResidualId id, uint8_t byte, Fuel& fuel);

  Store& store_;
  uint64_t budget_;
  std::vector<ResidualId> ids_;  // by node; 0: none yet
  std::vector<NodeRef> nodes_;   // by id
  std::vector<uint32_t*> rows_;  // by id; null: none yet
  std::vector<ByteSet> firsts_;  // by id
  std::vector<uint8_t> asked_;   // by id: whether that is known
  ByteMoves moves_;              // of those without a row
  ByteRows table_;
};

}  // namespace treadle
