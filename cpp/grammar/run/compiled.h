// A compiled grammar: its states over one vocabulary, with the masks computed so far.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "grammar/run/loop.h"
#include "grammar/run/memo.h"
#include "grammar/run/state.h"
#include "support/lock.h"
#include "tokens/vocab.h"

namespace treadle {

// Shared by matchers. `lock` guards everything that is not constant: states, masks, and the
// matchers themselves, which take it in every call.
class Compiled {
 public:
  // Prepares the root for stepping: pruning, left recursion, the start state.
  static Result<std::shared_ptr<Compiled>> build(std::unique_ptr<Store> store, NodeRef root,
                                                 VocabRef vocab, std::shared_ptr<Memo> memo,
                                                 const Limits& limits);

  const Vocab& vocab() const { return *vocab_; }
  const Limits& limits() const { return limits_; }
  States& states() { return states_; }
  // Writes the legal text tokens of `state` (V / 32 words rounded up, the rest of the row cleared)
  // from the memo or by a walk; returns how many there are.
  Result<uint32_t> fill(StateId state, std::span<uint32_t> row) { return fill(state, row, true); }
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
  using Bits = std::vector<uint32_t>;  // one bit a token, V / 32 + 1 words

  Compiled(std::unique_ptr<Store> store, VocabRef vocab, std::shared_ptr<Memo> memo,
           const Limits& limits)
      : vocab_(std::move(vocab)),
        memo_(std::move(memo)),
        limits_(limits),
        states_(std::move(store), limits) {}
  SliceRef slice_of(StateId state, Bits& out);
  Result<uint32_t> fill(StateId state, std::span<uint32_t> row, bool look_beside);
  Result<StateId> neighbour(StateId state, Fuel& fuel);
  Status walk_apart(StateId state, StateId beside, Bits& out, Fuel& fuel);
  Result<bool> walk_beside(StateId state, Bits& out, Fuel& fuel);
  Status walk(StateId state, Bits& out, bool look_beside);
  Status walk_trie(StateId state, std::span<const TrieNode> nodes, Bits& out, Fuel& fuel);
  Status walk_giants(StateId state, const TokenTrie& trie, Bits& out, Fuel& fuel);

  VocabRef vocab_;
  std::shared_ptr<Memo> memo_;
  Limits limits_;
  States states_;
  Loops loops_;
  std::vector<MaskSlot> slots_;  // by state
};

using CompiledRef = std::shared_ptr<Compiled>;

}  // namespace treadle
