// Free text: UTF-8 that contains none of a set of strings, as an Aho-Corasick automaton.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/ir/node.h"
#include "support/bitset.h"
#include "support/digest.h"

namespace treadle {

class Store;

// Which word, if any, a text has just completed. One row of transitions a prefix of a word, one
// column a class of bytes that no word tells apart. Source: A. Aho and M. Corasick, Efficient
// string matching, CACM 18 (1975).
class Automaton {
 public:
  static constexpr uint32_t kFound = UINT32_MAX;  // a word ends here
  // Words are not empty; `columns` comes from columns_of().
  explicit Automaton(std::vector<std::string> words);

  // Table entries that an automaton of these words needs, at most.
  static uint64_t cost(std::span<const std::string> words);

  // The row after `byte`, or kFound. The root is row 0.
  [[nodiscard]] uint32_t next(uint32_t row, uint8_t byte) const {
    const Table& table = this->table();
    return table.to[row * table.columns.size() + table.column[byte]];
  }
  [[nodiscard]] bool found_in(std::string_view text) const;
  // The bytes that lead from `row` to `target`.
  [[nodiscard]] ByteSet bytes_to(uint32_t row, uint32_t target) const;
  [[nodiscard]] uint64_t hash() const { return hash_; }
  [[nodiscard]] const Digest& digest() const { return digest_; }
  [[nodiscard]] uint64_t bytes() const { return cost(words_) * 4 + 1024; }  // once it is in use
  bool operator==(const Automaton& other) const { return words_ == other.words_; }

 private:
  struct Table {
    std::vector<uint32_t> to;
    std::vector<ByteSet> columns;  // the bytes of each column
    uint8_t column[256] = {};
  };
  // Worked out when a text first asks: of many tags with an end each, few are entered.
  const Table& table() const {
    if (!table_) build();
    return *table_;
  }
  void build() const;

  std::vector<std::string> words_;  // sorted
  mutable std::unique_ptr<Table> table_;
  uint64_t hash_ = 0;
  Digest digest_;
};

// All UTF-8 texts that contain none of the words; empty words are ignored. One leaf, whose
// derivative is a table load however many words there are. Fails the store when its fuel cannot
// pay for the automaton.
NodeRef free_text(Store& store, std::span<const std::string> excludes);

// Where a free text (alone or at the head of a sequence) can run on without coming nearer to an
// excluded word: the ASCII bytes, and the bytes of whole non-ASCII characters, after which it is
// where it was, whatever follows. Continuation bytes are always in the set: a text of these bytes
// that is valid UTF-8 leads back to `node`. Nothing for every other node.
std::optional<ByteSet> free_bytes(const Store& store, NodeRef node);

}  // namespace treadle
