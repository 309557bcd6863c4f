// Grammars to compiled grammars for one vocabulary, with a cache by content.
#pragma once

#include <list>
#include <string>
#include <unordered_map>

#include "grammar/run/compiled.h"
#include "grammar/run/source.h"
#include "support/lock.h"

namespace treadle {

// A source as it was read; an empty one has to be read first.
struct Parsed {
  std::unique_ptr<Store> store;
  NodeRef root = 0;
};

// Compiling is parsing: masks and states come later, when a matcher reaches them. Equal sources
// share one compiled grammar, so that later requests find its states and masks. The cache is
// bounded by `cache_bytes` over all its grammars; matchers keep theirs alive beyond it.
class Compiler {
 public:
  Compiler(VocabRef vocab, const Limits& limits)
      : vocab_(std::move(vocab)),
        limits_(limits),
        memos_(MaskMemos::within(limits.cache_bytes / 2)) {}  // grammars have the rest

  // `parsed` may hold a reading of `source` under the same limits, which saves one.
  Result<CompiledRef> compile(const Source& source, Parsed parsed = {});
  const Vocab& vocab() const { return *vocab_; }
  const Limits& limits() const { return limits_; }
  uint64_t memory();  // bytes held by the cached grammars, about
  uint64_t cached();  // how many there are
  void clear();

  // Masks of an earlier process, from what remember() gave there. How many; 0 when they cannot be
  // used: see StoredReaches, and digests of this process must not have been made yet. `build` names
  // the library's build.
  uint64_t recall(std::string block, std::string_view build);
  // A block of at most `most` bytes.
  std::string remember(std::string_view build, uint64_t most);

 private:
  struct Entry {
    std::string key;
    CompiledRef compiled;
    uint64_t bytes = 0;  // when last looked at; masks and states are added between
  };
  using Entries = std::list<Entry>;
  void look(Entry& entry);
  void drop(Entries::iterator entry);
  void trim();

  VocabRef vocab_;
  Limits limits_;
  MaskMemos memos_;
  Lock lock_;
  Entries entries_;                                                // most recently used first
  uint64_t bytes_ = 0;                                             // of all entries
  Entries::iterator next_ = entries_.end();                        // to be looked at
  std::unordered_map<std::string_view, Entries::iterator> index_;  // views of the keys
};

}  // namespace treadle
