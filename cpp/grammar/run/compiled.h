// A compiled grammar: its states over one vocabulary, with the masks computed so far.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/run/state.h"
#include "support/lock.h"
#include "tokens/vocab.h"

namespace treadle {

// The legal text tokens of one state, one bit a token, and how many there are.
struct StateMask {
  std::vector<uint32_t> bits;
  uint32_t count = 0;
};

// Shared by matchers. `lock` guards everything that is not constant: states, masks, and the
// matchers themselves, which take it in every call.
class Compiled {
 public:
  // Prepares the root for stepping: pruning, left recursion, the start state.
  static Result<std::shared_ptr<Compiled>> build(std::unique_ptr<Store> store, NodeRef root,
                                                 VocabRef vocab, const Limits& limits);

  const Vocab& vocab() const { return *vocab_; }
  const Limits& limits() const { return limits_; }
  States& states() { return states_; }
  // The mask of `state`, from the cache or by a walk. The pointer is valid until the next call.
  Result<const StateMask*> mask(StateId state);
  uint64_t memory() const;
  bool worn() const { return states_.worn(); }

  Lock lock;

 private:
  Compiled(std::unique_ptr<Store> store, VocabRef vocab, const Limits& limits)
      : vocab_(std::move(vocab)), limits_(limits), states_(std::move(store), limits) {}
  Status walk(StateId state, StateMask& out);
  Status walk_trie(StateId state, StateMask& out, Fuel& fuel);
  Status walk_giants(StateId state, StateMask& out, Fuel& fuel);

  VocabRef vocab_;
  Limits limits_;
  States states_;
  std::unordered_map<StateId, StateMask> masks_;
  uint64_t mask_bytes_ = 0;
};

using CompiledRef = std::shared_ptr<Compiled>;

}  // namespace treadle
