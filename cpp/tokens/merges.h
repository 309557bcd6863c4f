// Byte-pair merging of words that somebody else has cut and spelled in single symbols.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "support/offsets.h"
#include "support/result.h"
#include "tokens/ascii_words.h"

namespace treadle {

// One way to join two neighbours; the lowest rank goes first.
struct Merge {
  uint32_t left;
  uint32_t right;
  uint32_t rank;
  uint32_t joined;
};
static_assert(sizeof(Merge) == 16);

// The merges of one vocabulary. Immutable, so threads may share it.
class Merges {
 public:
  // `rows`: of type Merge wherever they lie, ascending by (left, right), no pair twice, ids below
  // `ids`.
  static Result<Merges> make(std::string_view rows, uint32_t ids);

  // Appends `word` merged as far as it goes. Order: rank, then place (Sennrich et al., ACL 2016).
  // O(n log n) for n symbols.
  void apply(std::span<const uint32_t> word, std::vector<uint32_t>& out) const;

  // Appends the ids of a text of bytes below 128, cut into words and spelled by `symbols`, the id
  // of each character alone.
  void encode_ascii(std::string_view text, AsciiCut cut, const std::array<uint32_t, 128>& symbols,
                    std::vector<uint32_t>& out) const;

  size_t size() const { return joins_.size(); }

 private:
  struct Join {  // a merge, among those of its left id
    uint32_t right;
    uint32_t rank;
    uint32_t joined;
  };

  const Join* find(uint32_t left, uint32_t right) const;
  void apply_short(std::span<uint32_t> word, std::vector<uint32_t>& out) const;

  std::vector<Join> joins_;
  Offsets starts_;  // by left id: its first join
};

}  // namespace treadle
