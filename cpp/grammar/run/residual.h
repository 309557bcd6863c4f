// Residuals as one deterministic automaton over bytes, whatever continuation stands behind them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/ir/store.h"
#include "support/byte_rows.h"

namespace treadle {

using ResidualId = uint32_t;
inline constexpr ResidualId kDeadResidual = 0;
// In a trie walk the children of a node are looked up rather than scanned for where at most
// kNarrow bytes go on and the subtree has kBushy nodes or more.
inline constexpr unsigned kNarrow = 6;
inline constexpr uint32_t kBushy = 48;

// Transitions, filled as they are asked for. States are made of residuals and continuations; a
// token is mostly read by a residual alone, and different states then share these. Most residuals
// are narrow, a place in some name: those have no row of 256 entries. Not thread-safe: guarded like
// the store.
class Residuals {
 public:
  // An entry: the residual after the byte, with kEnds set when the text may end there.
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
  NodeRef node(ResidualId id) const { return all_[id].node; }
  // The bytes that may go on.
  const ByteSet& first(ResidualId id) { return known(id).first; }
  bool narrow(ResidualId id) { return known(id).count <= kNarrow; }
  Literal literal(ResidualId id) const;
  // All entries, kUnknown where step() has to be asked. Valid until trim().
  const uint32_t* row(ResidualId id) { return all_[id].row ? all_[id].row : make_row(id); }
  // The entry of `byte`, found out if it is not known yet.
  uint32_t step(ResidualId id, uint8_t byte, Fuel& fuel) {
    const uint32_t* row = all_[id].row;
    return row != nullptr && row[byte] != kUnknown ? row[byte] : look(id, byte, fuel);
  }
  // Drops every row and id when they hold more than the budget. Not while a walk goes on.
  void trim();
  uint64_t memory() const;

 private:
  static constexpr uint16_t kNotAsked = UINT16_MAX;
  struct Residual {
    NodeRef node = 0;
    uint16_t count = kNotAsked;  // of `first`
    std::array<uint8_t, kNarrow> bytes{};
    std::array<uint32_t, kNarrow> to{};  // by `bytes`; both of narrow ones alone
    uint32_t* row = nullptr;             // or null
    ByteSet first{};
  };

  Residual& known(ResidualId id) {
    Residual& at = all_[id];
    if (at.count == kNotAsked) ask(at);
    return at;
  }
  void ask(Residual& at);
  uint32_t* make_row(ResidualId id);
  uint32_t look(ResidualId id, uint8_t byte, Fuel& fuel);
  uint32_t find(ResidualId id, uint8_t byte, Fuel& fuel);

  Store& store_;
  uint64_t budget_;
  std::vector<ResidualId> ids_;  // by node; 0: none yet
  std::vector<Residual> all_;    // by id
  ByteRows table_;
};

}  // namespace treadle
