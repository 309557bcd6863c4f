// What one residual says of every token, whatever stands behind it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/run/loop.h"
#include "grammar/run/residual.h"
#include "grammar/run/spell.h"
#include "grammar/run/token_mask.h"
#include "support/digest.h"
#include "support/lock.h"
#include "tokens/vocab.h"

namespace treadle {

// The tokens of a mask split by who decides: those that the residual can take to their end are
// legal; those that go on behind a place where it may end are up to the continuation. Nothing in it
// names a store, so all grammars over one vocabulary share it.
//
// Source of the split: context-independent and context-dependent tokens of Y. Dong et al., XGrammar
// (2024), section 3.1, taken here on residuals, on demand and without an "uncertain" rest.
// Most keys of an object may be any text but a few names: such a reach is that of any text and what
// is different about it, some tokens and trie nodes.
class Reach {
 public:
  struct Change {
    std::vector<uint32_t> without, with;  // tokens
    std::vector<uint32_t> gone, come;     // ends, ascending
    size_t size() const { return without.size() + with.size() + gone.size() + come.size(); }
  };

  // `ends`: trie nodes, ascending, after which the residual may end. `digest`: of what the reach is
  // of; unknown: nothing is remembered of what stands behind it.
  Reach(const MaskBits& bits, std::span<const uint32_t> ends, const TokenTrie& trie,
        const Digest& digest, bool all_ends = false);
  // That of `base`, itself no changed one, but for the change.
  Reach(std::shared_ptr<const Reach> base, Change change, const TokenTrie& trie);

  const Digest& digest() const { return digest_; }
  const std::shared_ptr<const Reach>& base() const { return base_; }  // null: not changed
  const Change& change() const { return change_; }
  // Adds the tokens that the residual takes to their end.
  void add_to(MaskBits& bits) const;
  bool has_end(uint32_t node) const;
  // Otherwise those are missing below which a class of characters has decided all.
  bool lists_all_ends() const { return all_ends_; }
  // Appends all ends, in no order.
  void ends(std::vector<uint32_t>& out) const;
  // The bytes that some token may go on with behind an end, a superset, and the trie nodes of one.
  const ByteSet& next_bytes() const { return next_bytes_; }
  void next(uint8_t byte, const TokenTrie& trie, std::vector<uint32_t>& out) const;
  // Whether more than `few` trie nodes may go on with one of these bytes.
  bool many_next(const ByteSet& bytes, size_t few) const;
  uint64_t memory() const;

 private:
  Digest digest_;
  std::shared_ptr<const Reach> base_;
  Change change_;
  TokenMask inner_;
  bool all_ends_ = false;
  bool wide_ = false;           // free text may end nearly everywhere: then nothing is listed,
  std::vector<uint32_t> ends_;  // and this is one bit a trie node
  ByteSet next_bytes_;
  std::vector<uint32_t> nodes_;   // children of ends, by byte
  std::vector<uint32_t> starts_;  // into nodes_: one for each of next_bytes_, and the end
};

using ReachRef = std::shared_ptr<const Reach>;

inline constexpr size_t kFewNext = 64;  // trie nodes that are read on with rather than looked up

class StoredReaches;

// The reaches of one vocabulary by the digest of their residual, bounded in bytes; the least
// recently used half goes when the budget is spent. Thread-safe.
class ReachMemo {
 public:
  explicit ReachMemo(uint64_t budget) : budget_(budget) {}

  ReachRef find(const Digest& digest);  // null: not here
  void put(const Digest& digest, ReachRef reach);
  // What is not here is looked for among those of an earlier process.
  void rely_on(std::shared_ptr<const StoredReaches> stored);
  std::shared_ptr<const StoredReaches> stored();
  std::vector<std::pair<Digest, ReachRef>> recent();  // all, the last used first
  void clear();
  uint64_t memory();

 private:
  struct Entry {
    ReachRef reach;
    uint64_t used = 0;
  };
  void sweep();
  void add(const Digest& digest, ReachRef reach);

  Lock lock_;
  uint64_t budget_;
  uint64_t bytes_ = 0;
  uint64_t clock_ = 0;
  std::unordered_map<Digest, Entry, Digest::Hash> entries_;
  std::shared_ptr<const StoredReaches> stored_;  // or null
};

// Finds the reaches of one grammar's residuals. Not thread-safe: guarded like the store.
class Reaches {
 public:
  Reaches(Store& store, Residuals& residuals, const Vocab& vocab, std::shared_ptr<ReachMemo> memo)
      : store_(store),
        residuals_(residuals),
        vocab_(vocab),
        memo_(std::move(memo)),
        bits_(vocab.size()) {}

  // Of a regular residual, from the memo or by a walk over the trie.
  Result<ReachRef> of(NodeRef residual, Fuel& fuel);
  // What `residual` says of the tokens that go on with it behind an end of `before`, which has a
  // known digest.
  Result<ReachRef> behind(const Reach& before, NodeRef residual, Fuel& fuel);
  // Whether the reach of a residual is much the same in most grammars.
  bool common(NodeRef residual);
  // Whether it is a run of a few bytes, such as whitespace.
  bool short_run(NodeRef residual);
  uint64_t memory() const { return own_bytes_; }
  void clear();

 private:
  static constexpr uint64_t kOwnBytes = 8u << 20;  // held beyond what the memo holds
  static constexpr size_t kMostPairs = 256;
  struct Between {  // two residuals with others between them; see reach_between.cc
    uint32_t asked = 0;
    bool useful = false;
    ReachRef low;
    std::vector<uint32_t> way;  // trie nodes, ascending
  };

  Result<ReachRef> make(NodeRef residual, const Digest& digest, Fuel& fuel);
  Status walk(ResidualId from, const SliceRef& slice, MaskBits& bits, std::vector<uint32_t>& ends,
              Fuel& fuel);
  void walk_narrow(uint32_t root, ResidualId from, MaskBits& bits, std::vector<uint32_t>& ends,
                   Fuel& fuel);
  SliceRef slice_of(NodeRef residual, MaskBits& bits);
  Status walk_apart(NodeRef from, const Beside& beside, const Reach& base, Reach::Change& change,
                    Fuel& fuel);
  Result<ReachRef> walk_run(NodeRef residual, const Digest& digest, Fuel& fuel);
  Result<ReachRef> walk_spelled(NodeRef residual, const Digest& digest, Fuel& fuel);
  bool spelled_apart(NodeRef residual, const Reach& base, Reach::Change& change);
  Result<ReachRef> walk_beside(NodeRef residual, const Digest& digest, Fuel& fuel);
  ReachRef changed(const ReachRef& base, Reach::Change change, const Digest& digest);
  Result<ReachRef> walk_counted(NodeRef residual, const Digest& digest, Fuel& fuel);
  Status walk_way(NodeRef residual, const Reach& base, uint64_t free, std::vector<uint32_t>& way,
                  Reach::Change& change, Fuel& fuel);
  Result<ReachRef> walk_bounded(NodeRef residual, const Digest& digest, Fuel& fuel);
  Result<ReachRef> walk_between(NodeRef residual, const Digest& digest, Fuel& fuel);
  Status compare(NodeRef low, NodeRef high, Between& out);
  Status walk_behind(const Reach& before, ResidualId id, std::vector<uint32_t>& ends, Fuel& fuel);

  Store& store_;
  Residuals& residuals_;
  const Vocab& vocab_;
  std::shared_ptr<ReachMemo> memo_;
  Loops loops_;
  MaskBits bits_;  // scratch of one walk
  std::unordered_map<NodeRef, ReachRef> own_;
  std::unordered_map<NodeRef, bool> common_;
  uint64_t own_bytes_ = 0;
  std::unordered_map<uint64_t, Between> between_;  // by both nodes

  // Scratch of one narrow walk, kept to avoid allocation.
  std::vector<std::pair<uint32_t, ResidualId>> narrow_;  // trie node, what goes on below it
  std::vector<uint32_t> below_;
};

}  // namespace treadle
