// A compiled grammar: its states over one vocabulary, with the masks computed so far.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "grammar/run/memo.h"
#include "grammar/run/reach.h"
#include "grammar/run/state.h"
#include "grammar/run/token_terminals.h"
#include "support/lock.h"
#include "tokens/vocab.h"

namespace treadle {

// What the grammars of one compiler share.
struct MaskMemos {
  std::shared_ptr<Memo> masks;
  std::shared_ptr<ReachMemo> reaches;

  static MaskMemos within(uint64_t bytes) {
    return {std::make_shared<Memo>(bytes / 2), std::make_shared<ReachMemo>(bytes / 2)};
  }
};

// Shared by matchers. `lock` guards everything that is not constant: states, masks, and the
// matchers themselves, which take it in every call.
class Compiled {
 public:
  // Prepares the root for stepping: pruning, left recursion, the start state.
  static Result<std::shared_ptr<Compiled>> build(std::unique_ptr<Store> store, NodeRef root,
                                                 VocabRef vocab, MaskMemos memos,
                                                 const Limits& limits);

  const Vocab& vocab() const { return *vocab_; }
  const Limits& limits() const { return limits_; }
  States& states() { return states_; }
  // Writes the legal text tokens of `state` (V / 32 words rounded up, the rest of the row cleared)
  // from the memo or by a walk; returns how many there are.
  Result<uint32_t> fill(StateId state, std::span<uint32_t> row);
  // Right after fill() of `state`: a piece of what later ones have to do, for `most` fuel or less.
  void ahead(StateId state, uint64_t most);
  const TokenTerminals& terminals() const { return terminals_; }
  // The same from the memo alone; false when the mask has to be computed first.
  bool recall(StateId state, std::span<uint32_t> row, uint32_t& count);
  // A stable number for the mask of `state` as a matcher with these stop tokens writes it (by their
  // number, from ids()); kStagedMask when the memo has none.
  MaskId mask_id(StateId state, uint32_t stops, uint32_t& count);
  MaskIds& ids() { return memo_->ids; }
  uint64_t memory() const;
  bool worn() const { return states_.worn(); }

  Lock lock;

 private:
  struct Pending {  // a continuation begins behind a trie node
    CellId cell;
    uint32_t node;
  };
  struct Link {  // a continuation begins where a reach may end
    ReachRef reach;
    CellId cell;
  };
  struct Reading {  // a configuration, ready to read bytes
    ResidualId residual;
    CellId cell;
    Doubt doubt;
  };
  struct Literal {  // one that begins with a text, and the trie node that it is read from
    Reading by;
    uint32_t node;
  };

  Compiled(std::unique_ptr<Store> store, VocabRef vocab, MaskMemos memos, TokenTerminals terminals,
           const Limits& limits);
  void leave_text(StateId state);
  Status walk(StateId state, MaskBits& out, Fuel& fuel);
  Result<bool> compose(StateId state, MaskBits& out, Fuel& fuel);
  Result<bool> add_config(Config config, MaskBits& out, Fuel& fuel);
  Result<bool> add_after(const ReachRef& reach, std::span<const Reading> entered, bool shared,
                         MaskBits& out, Fuel& fuel);
  Result<bool> add_many(const ReachRef& reach, std::span<const Reading> entered,
                        const ByteSet& first, MaskBits& out, Fuel& fuel);
  Result<bool> read_on(const ReachRef& reach, const Reading& by, MaskBits& out, Fuel& fuel);
  Result<bool> add_links(MaskBits& out, Fuel& fuel);
  Status add_few(const Reach& reach, const Behind& behind, MaskBits& out, Fuel& fuel);
  bool bar(const Reach& reach, const ByteSet& bytes, std::vector<uint32_t>& tokens);
  Status follow_by(const Reading& by, uint8_t byte, std::span<const uint32_t> roots, MaskBits& out,
                   Fuel& fuel);
  Status follow_all(StateId state, uint8_t byte, std::span<const uint32_t> roots, MaskBits& out,
                    Fuel& fuel);
  std::span<const Reading> readings(StateId state);
  Status follow(uint32_t entry, const Reading& by, uint32_t root, MaskBits& out, Fuel& fuel);
  Status follow_below(const Reading& by, uint32_t node, MaskBits& out, Fuel& fuel);
  Status follow_literals(MaskBits& out, Fuel& fuel);
  Status add_literals(StateId state, MaskBits& out, Fuel& fuel);
  Result<bool> add_pending(MaskBits& out, Fuel& fuel);
  void pend(CellId cell, uint32_t node);
  Status settle(StateId state, MaskBits& out, Fuel& fuel);
  Status walk_token(StateId state, TokenId token, MaskBits& out, Fuel& fuel);
  void add_terminals(StateId state, MaskBits& out);
  Status walk_trie(StateId state, std::span<const TrieNode> nodes, MaskBits& out, Fuel& fuel);
  Status walk_giants(StateId state, const TokenTrie& trie, MaskBits& out, Fuel& fuel);

  VocabRef vocab_;
  std::shared_ptr<Memo> memo_;
  Limits limits_;
  States states_;
  TokenTerminals terminals_;
  Residuals residuals_;
  Reaches reaches_;
  std::vector<MaskSlot> slots_;  // by state
  uint64_t spent_ = 0;           // fuel that the last fill() took
  bool begun_ = false;           // a first mask was filled

  // Scratch of one mask, kept to avoid allocation.
  MaskBits bits_;
  std::vector<Literal> literals_;
  std::vector<Spelled> spelled_;  // their texts
  std::vector<uint8_t> taken_;    // 1: a reading of the state that is among them
  std::vector<Pending> pending_;
  std::vector<uint32_t> children_;
  std::vector<uint32_t> below_;
  std::vector<std::pair<uint32_t, uint32_t>> followed_;  // trie node, entry of a residual's row
  std::vector<Reading> readings_;
  StateId readings_of_ = kUnknown;  // the state that readings_ belong to
  FlatSet pending_seen_;
  std::vector<Link> links_;
  std::vector<std::pair<uint32_t, uint32_t>> barred_;  // trie nodes, from and to, ascending
  std::vector<uint32_t> doubtful_;  // trie nodes whose subtree is to be read byte by byte
};

using CompiledRef = std::shared_ptr<Compiled>;

}  // namespace treadle
