// What a process found out about a vocabulary, as a block of bytes for the next one.
//
// Reading a grammar takes microseconds and is not worth keeping; the walks behind the first masks
// take milliseconds, and their results name no grammar. So reaches are kept, by the digest of their
// residual. Digests are keyed (support/digest.h): a process takes over the key of the block.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/run/reach.h"

namespace treadle {

// A block that was read. Its entries are checked and decoded as they are asked for. Immutable.
class StoredReaches {
 public:
  // Null for a block that is damaged, of another format, or made for another vocabulary or by
  // another build of this library: there is nothing to do with it but to write another.
  static std::shared_ptr<const StoredReaches> open(std::string block, VocabRef vocab,
                                                   std::string_view build);

  uint64_t key() const { return key_; }
  uint64_t size() const { return index_.size(); }
  uint64_t memory() const { return block_.size() + index_.size() * 64; }
  // Null: not here, or damaged.
  ReachRef find(const Digest& digest) const;
  // The entry as it is stored; empty: not here.
  std::string_view raw(const Digest& digest) const;
  std::vector<Digest> digests() const;

 private:
  StoredReaches() = default;

  std::string block_;
  VocabRef vocab_;
  uint64_t key_ = 0;
  std::unordered_map<Digest, std::string_view, Digest::Hash> index_;  // checksum, then entry
};

// A block of at most `most` bytes: `recent` in its order, then what else `older` (or null) has.
std::string store_reaches(const std::vector<std::pair<Digest, ReachRef>>& recent,
                          const StoredReaches* older, const Vocab& vocab, std::string_view build,
                          uint64_t most);

}  // namespace treadle
