// Class slices: the tokens that are spelt by one class of characters alone, kept as ready masks.
//
// Where a grammar loops over a class, all those tokens are legal without looking at them, and only
// the rest of the vocabulary has to be walked: for a JSON string 6,000 tokens instead of 128,000.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "support/bitset.h"
#include "support/lock.h"
#include "tokens/trie.h"

namespace treadle {

class Vocab;

// A class of characters as slices know it: some of ASCII, and either all others or none of them.
struct CharClass {
  ByteSet ascii;        // below 0x80
  bool beyond = false;  // every scalar value from U+0080 on
  bool operator==(const CharClass&) const = default;
  bool empty() const { return ascii.empty() && !beyond; }
};

inline constexpr uint32_t kSliceUnits = 128;  // tokens of more characters stay in `rest`
inline constexpr uint32_t kSliceRows = 16;    // lengths with a row of their own

// Immutable.
class Slice {
 public:
  // Null when it would save next to nothing: the class holds few tokens, and no long ones, whose
  // walk meets a new state with every character.
  static std::shared_ptr<const Slice> build(const Vocab& vocab, const CharClass& chars);

  // One bit a token, V / 32 + 1 words: tokens of at most `units` characters, all of the class, but
  // for those that longer() lists.
  std::span<const uint32_t> at_most(uint32_t units) const;
  // Such tokens of more than kSliceRows characters. There are few.
  std::span<const uint32_t> longer(uint32_t units) const;
  // Those of more than `units` characters, where that is kSliceRows or more.
  std::span<const uint32_t> above(uint32_t units) const;
  // Every other text token.
  const TokenTrie& rest() const { return rest_; }
  // The node of the vocabulary's trie that spells what node `i` of rest() does.
  uint32_t origin(size_t i) const { return origin_[i]; }
  uint64_t memory() const;  // bytes held, about

 private:
  size_t words_ = 0;
  std::vector<uint32_t> bits_;    // [kSliceRows + 2, words_]: by length, the last row of all
  std::vector<uint32_t> longer_;  // by length
  std::vector<uint32_t> ending_;  // [kSliceUnits + 1]: how many of those are at most so long
  TokenTrie rest_;
  std::vector<uint32_t> origin_;
};

using SliceRef = std::shared_ptr<const Slice>;

// The slices of one vocabulary. A class is sliced once it has been asked for often enough to earn
// the milliseconds, as long as all slices together stay below kMostBytes. Thread-safe.
class SliceCache {
 public:
  // Slices what every schema asks for: whitespace, and what stands for itself in a JSON string.
  void prebuild(const Vocab& vocab);
  // Null: walk the whole trie.
  SliceRef find(const Vocab& vocab, const CharClass& chars);

 private:
  static constexpr uint64_t kMostBytes = 20u << 20;  // of 128,000 tokens one takes 2 to 5 MiB
  static constexpr size_t kMostClasses = 4096;       // asked for, sliced or not
  struct Entry {
    uint32_t asked = 0;
    bool tried = false;
    SliceRef slice;
  };
  using Key = std::tuple<uint64_t, uint64_t, bool>;
  Entry& entry_of(const CharClass& chars);
  void build(Entry& entry, const Vocab& vocab, const CharClass& chars);

  Lock lock_;
  std::map<Key, Entry> entries_;
  uint64_t bytes_ = 0;
};

}  // namespace treadle
