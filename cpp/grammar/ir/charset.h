// Sets of Unicode code points as sorted, disjoint, non-adjacent ranges, and their UTF-8 lowering.
//
// A CharSet is a plain value. All operations are linear in the number of ranges, and none depends
// on how many code points a range spans. Surrogates (U+D800..U+DFFF) may be members, because set
// complements pass through them, but `utf8_sequences` leaves them out: UTF-8 cannot spell them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/utf8.h"

namespace treadle {

inline constexpr uint32_t kMaxCodePoint = 0x10FFFF;

// Both ends belong to the range.
struct CharRange {
  uint32_t lo = 0;
  uint32_t hi = 0;
  bool operator==(const CharRange&) const = default;
};

struct ByteRange {
  uint8_t lo = 0;
  uint8_t hi = 0;
  bool operator==(const ByteRange&) const = default;
};

// One product of byte ranges: every string whose i-th byte lies in bytes[i], i < size.
struct Utf8Sequence {
  std::array<ByteRange, 4> bytes{};
  uint8_t size = 0;
};

class CharSet {
 public:
  CharSet() = default;
  // Ranges in any order, overlapping or not; ends beyond U+10FFFF are cut, reversed ranges empty.
  explicit CharSet(std::vector<CharRange> ranges);
  CharSet(std::initializer_list<CharRange> ranges);

  static CharSet single(uint32_t c) { return CharSet{{c, c}}; }
  static CharSet range(uint32_t lo, uint32_t hi) { return CharSet{{lo, hi}}; }
  // Every Unicode scalar value: U+0000..U+10FFFF without the surrogates.
  static CharSet any();

  [[nodiscard]] bool is_empty() const { return ranges_.empty(); }
  [[nodiscard]] bool has(uint32_t c) const;
  [[nodiscard]] uint64_t count() const;  // number of members
  [[nodiscard]] std::span<const CharRange> ranges() const { return ranges_; }
  [[nodiscard]] uint64_t hash() const;  // the same on every platform

  [[nodiscard]] CharSet unite(const CharSet& other) const;
  [[nodiscard]] CharSet intersect(const CharSet& other) const;
  [[nodiscard]] CharSet subtract(const CharSet& other) const;
  [[nodiscard]] CharSet invert() const;  // relative to U+0000..U+10FFFF, surrogates included

  bool operator==(const CharSet&) const = default;

 private:
  void normalise();
  std::vector<CharRange> ranges_;
};

// The byte strings that spell the scalar values of `set`: disjoint products of byte ranges in
// lexicographic order, at most a handful for each range of the set. Their union is exact:
// overlong forms, surrogates and values beyond U+10FFFF never appear.
std::vector<Utf8Sequence> utf8_sequences(const CharSet& set);

// Appends the UTF-8 form of a scalar value. A surrogate is written in its three-byte generalised
// form, which no valid text contains; callers that must not emit it check `is_surrogate` first.
void append_utf8(std::string& out, uint32_t c);

}  // namespace treadle
