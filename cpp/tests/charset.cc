// Code-point sets against a plain array of flags, and UTF-8 lowering against an encoder.
#include "grammar/ir/charset.h"

#include <cstdint>
#include <string>
#include <vector>

#include "check.h"

using treadle::CharSet;
using treadle::test::check;
using treadle::test::Random;

namespace {

constexpr uint32_t kSmall = 64;

CharSet random_set(Random& random, std::vector<bool>& flags) {
  flags.assign(kSmall, false);
  std::vector<treadle::CharRange> ranges;
  for (uint32_t i = random.below(6); i > 0; --i) {
    uint32_t lo = random.below(kSmall);
    uint32_t hi = lo + random.below(kSmall - lo);
    ranges.push_back({lo, hi});
    for (uint32_t c = lo; c <= hi; ++c) flags[c] = true;
  }
  return CharSet(ranges);
}

void operations_match_flags() {
  Random random(1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<bool> x, y;
    CharSet a = random_set(random, x);
    CharSet b = random_set(random, y);
    CharSet sum = a.unite(b), common = a.intersect(b), less = a.subtract(b), not_a = a.invert();
    uint64_t members = 0;
    for (uint32_t c = 0; c < kSmall; ++c) {
      members += x[c];
      check(a.has(c) == x[c]);
      check(sum.has(c) == (x[c] || y[c]));
      check(common.has(c) == (x[c] && y[c]));
      check(less.has(c) == (x[c] && !y[c]));
      check(not_a.has(c) == !x[c]);
    }
    check(a.count() == members);
    check(not_a.invert() == a);
    check(a.unite(b) == b.unite(a));
    for (size_t i = 1; i < a.ranges().size(); ++i) {
      check(a.ranges()[i - 1].hi + 1 < a.ranges()[i].lo);
    }
  }
}

bool spelt(const std::vector<treadle::Utf8Sequence>& sequences, const std::string& bytes) {
  int found = 0;
  for (const treadle::Utf8Sequence& s : sequences) {
    bool inside = s.size == bytes.size();
    for (size_t i = 0; inside && i < bytes.size(); ++i) {
      auto byte = static_cast<uint8_t>(bytes[i]);
      inside = s.bytes[i].lo <= byte && byte <= s.bytes[i].hi;
    }
    found += inside;
  }
  check(found <= 1);  // the products are disjoint
  return found == 1;
}

// Every code point is spelt by its set and no other is, for ranges around all UTF-8 borders.
void lowering_is_exact() {
  std::vector<uint32_t> points;
  for (uint32_t border : {0u, 0x80u, 0x800u, 0xD800u, 0xE000u, 0x10000u, 0x40000u, 0x110000u}) {
    for (uint32_t d = 0; d < 3; ++d) {
      if (border + d <= treadle::kMaxCodePoint) points.push_back(border + d);
      if (border > d) points.push_back(border - d - 1);
    }
  }
  for (uint32_t lo : points) {
    for (uint32_t hi : points) {
      CharSet set = CharSet::range(lo, hi);
      auto sequences = utf8_sequences(set);
      uint64_t spellings = 0;
      for (const treadle::Utf8Sequence& s : sequences) {
        uint64_t product = 1;
        for (size_t i = 0; i < s.size; ++i) product *= s.bytes[i].hi - s.bytes[i].lo + 1u;
        spellings += product;
      }
      check(spellings == set.intersect(CharSet::any()).count());
      for (uint32_t c : points) {
        std::string bytes;
        treadle::append_utf8(bytes, c);
        check(spelt(sequences, bytes) == (set.has(c) && !treadle::is_surrogate(c)));
      }
    }
  }
}

void reading_refuses_what_is_not_utf8() {
  uint32_t c = 0;
  for (uint32_t point : {0u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    std::string bytes;
    treadle::append_utf8(bytes, point);
    check(treadle::read_utf8(bytes, 0, c) == bytes.size() && c == point);
    if (bytes.size() > 1) {
      check(treadle::read_utf8(bytes.substr(0, bytes.size() - 1), 0, c) == 0);
    }
  }
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                          "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xFF", "\xC3("}) {
    check(treadle::read_utf8(bad, 0, c) == 0);
  }
}

}  // namespace

int main() {
  operations_match_flags();
  lowering_is_exact();
  reading_refuses_what_is_not_utf8();
  return treadle::test::report();
}
