// States: where a text stands in a grammar, interned, with lazily filled transitions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/ir/store.h"
#include "grammar/run/cell.h"
#include "grammar/run/token_terminals.h"
#include "grammar/typed/distinct.h"
#include "support/byte_moves.h"
#include "support/byte_rows.h"
#include "support/flat_map.h"
#include "support/flat_set.h"

namespace treadle {

using StateId = uint32_t;
inline constexpr StateId kDeadState = 0;           // no completion
inline constexpr StateId kStopped = 1;             // after a stop token
inline constexpr StateId kUnknown = UINT32_MAX;    // a transition not computed yet
inline constexpr StateId kFault = UINT32_MAX - 1;  // a budget ran out; see fault()
inline constexpr uint32_t kDeriveCost = 12;        // step fuel for one node touched

// One reading of the text so far: a regular residual, then its continuation.
struct Config {
  NodeRef residual;
  CellId cell;
  bool operator==(const Config&) const = default;
};

// What a continuation begins with: its state, and the bytes that may have a live transition there.
struct Behind {
  StateId state = kUnknown;
  bool failed = false;  // when it was tried ahead of a text
  ByteSet first;
};

// What is known of clamped nodes; see clamp.cc.
struct ClampMemo {
  std::vector<uint8_t> depths;  // by node: one more than how deep it was looked into and kept
  FlatMap changed;              // of the others: node << 8 | how deep -> the clamped one
};

// All states of one grammar. Every state but the dead one can be completed: residuals and
// continuations without a completion are dropped when a state is made. Not thread-safe.
class States {
 public:
  States(std::unique_ptr<Store> store, const Limits& limits);

  // Interns the start state of `root`; an error when nothing matches or a budget ran out.
  Status start(NodeRef root);
  StateId start() const { return start_; }

  // The transitions of a state: 256 entries, kUnknown where next() has to be asked. Valid until
  // epoch() changes; a state that few bytes were read in shows a row of kUnknown.
  const StateId* row(StateId state) const { return rows_[state]; }
  // All rows by state; the array moves when a state is made.
  const StateId* const* rows() const { return rows_.data(); }
  uint64_t epoch() const { return epoch_; }
  // kDeadState when no completion begins with `byte`, kFault when a budget ran out.
  StateId next(StateId state, uint8_t byte, Fuel& fuel);
  // After one whole token whose bytes lead to `spelled`: by its bytes or by a token terminal.
  StateId after_token(StateId state, StateId spelled, TokenId token,
                      const TokenTerminals& terminals, Fuel& fuel);
  // Bytes that may have a live transition, a superset.
  ByteSet first(StateId state);
  // The state of these readings, closed again; `accepting`: one reading has ended already. kFault
  // when a budget ran out. For budgets, which narrow a residual between tokens.
  StateId make(std::span<const Config> readings, bool accepting, Fuel& fuel);
  bool accepting(StateId state) const { return list_[state].accepting; }
  std::span<const Config> configs(StateId state) const;

  // Where a text stands once what is above `cell` is complete. kFault when a budget ran out.
  const Behind& behind(CellId cell, Fuel& fuel);

  // Works out behind() of one cell that a text comes to soon after `state`, if it is not known for
  // all of those; true when it did. What fails is left to whoever comes there. See ahead.cc.
  bool ahead(StateId state, Fuel& fuel);
  bool looked_ahead(StateId state) const { return list_[state].looked_ahead; }  // all is known

  // A superset of behind(cell).first, for less.
  ByteSet hint(CellId cell);

  // What behind() of a cell, or of one before it, leaves open of the item above `cell`.
  Doubt doubt(CellId cell) {
    return cell == kBottom ? Doubt::none : doubt_before(*store_, cells_[cell].rest);
  }

  // A state with the same mask, whose counters reach no further than tokens of `units` bytes do.
  // `units` is the same in every call. kFault when a budget ran out.
  StateId clamped(StateId state, uint32_t units, Fuel& fuel);

  // The Status behind the last kFault; clears it, so that the next step may try again.
  Status take_fault() { return store_->take_fault(); }
  uint64_t memory() const;
  uint64_t size() const { return list_.size(); }
  Store& store() { return *store_; }
  // True once most of the derived-node budget is spent: time to build a fresh one.
  // `share`: or that part of it.
  bool worn(uint64_t share = 2) const;

 private:
  struct State {
    uint32_t offset = 0;  // into configs_
    uint32_t count = 0;
    bool accepting = false;
    bool looked_ahead = false;
  };
  struct Item {
    NodeRef node;
    CellId cell;
  };

  void add_moves(StateId state, const ByteSet& bytes, StateId to);
  void drop_moves();
  StateId compute(StateId state, uint8_t byte, Fuel& fuel);
  StateId close(Fuel& fuel);
  void expand(Item item, Fuel& fuel);
  void expand_concat(Item item, Fuel& fuel);
  void expand_repeat(Item item);
  void pop(CellId cell);
  void pop(CellId cell, NodeRef residual);
  void visit(NodeRef node, CellId cell);
  CellId push(NodeRef rest, CellId parent);
  CellId clamped_cell(CellId cell, uint32_t units);
  StateId intern();
  void fail(Status status) { store_->fail(std::move(status)); }
  void grow_table();

  Limits limits_;
  std::unique_ptr<Store> store_;
  Cells cells_;
  std::vector<State> list_;
  std::vector<Config> configs_;
  std::vector<uint32_t> hashes_;
  std::vector<StateId> table_;
  std::vector<Behind> behind_;         // by cell
  std::vector<StateId> clamped_;       // by state; kDeadState: not asked yet
  std::vector<CellId> clamped_cells_;  // by cell; kBottom: not asked yet
  ClampMemo clamp_memo_;
  ByteMoves moves_;             // of the states without a row
  std::vector<StateId> unset_;  // the row of those
  std::vector<const StateId*> rows_;
  ByteRows made_rows_;
  uint64_t epoch_ = 0;
  StateId start_ = kDeadState;

  // Scratch of one closure, kept to avoid allocation.
  std::vector<Item> work_;
  FlatSet visited_;
  FlatSet unrolled_;  // continuations of nullable repetitions begun here
  std::vector<NodeRef> residuals_;
  std::vector<Config> found_;
  bool accepts_ = false;
};

}  // namespace treadle
