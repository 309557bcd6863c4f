#include "grammar/ir/charset.h"

#include <algorithm>
#include <utility>

namespace treadle {
namespace {

constexpr uint32_t kSurrogateLo = 0xD800;
constexpr uint32_t kSurrogateHi = 0xDFFF;

// Last code point of each UTF-8 length, one to four bytes.
constexpr std::array<uint32_t, 4> kLengthEnd = {0x7F, 0x7FF, 0xFFFF, kMaxCodePoint};

size_t encode(uint32_t c, std::array<uint8_t, 4>& out) {
  if (c <= 0x7F) {
    out[0] = static_cast<uint8_t>(c);
    return 1;
  }
  size_t size = c <= 0x7FF ? 2 : c <= 0xFFFF ? 3 : 4;
  constexpr std::array<uint8_t, 5> kLead = {0, 0, 0xC0, 0xE0, 0xF0};
  for (size_t i = size; i-- > 1; c >>= 6) out[i] = static_cast<uint8_t>(0x80 | (c & 0x3F));
  out[0] = static_cast<uint8_t>(kLead[size] | c);
  return size;
}

// Appends the sequences of lo..hi, whose ends have the same UTF-8 length and which holds no
// surrogate. A range is one product when, below the first byte in which its ends differ, all
// bytes run over 80..BF; otherwise it is cut at that boundary, which happens at most twice a byte.
void append_same_length(uint32_t lo, uint32_t hi, std::vector<Utf8Sequence>& out) {
  std::vector<CharRange> work = {{lo, hi}};
  while (!work.empty()) {
    CharRange r = work.back();
    work.pop_back();
    bool cut = false;
    std::array<uint8_t, 4> first{};
    std::array<uint8_t, 4> last{};
    size_t size = encode(r.lo, first);
    for (size_t tail = 1; tail < size && !cut; ++tail) {
      uint32_t mask = (uint32_t{1} << (6 * tail)) - 1;
      if ((r.lo & ~mask) == (r.hi & ~mask)) break;
      if ((r.lo & mask) != 0) {
        work.push_back({(r.lo | mask) + 1, r.hi});
        work.push_back({r.lo, r.lo | mask});
        cut = true;
      } else if ((r.hi & mask) != mask) {
        work.push_back({r.hi & ~mask, r.hi});
        work.push_back({r.lo, (r.hi & ~mask) - 1});
        cut = true;
      }
    }
    if (cut) continue;
    encode(r.hi, last);
    Utf8Sequence sequence;
    sequence.size = static_cast<uint8_t>(size);
    for (size_t i = 0; i < size; ++i) sequence.bytes[i] = {first[i], last[i]};
    out.push_back(sequence);
  }
}

}  // namespace

CharSet::CharSet(std::vector<CharRange> ranges) : ranges_(std::move(ranges)) {
  normalise();
}

CharSet::CharSet(std::initializer_list<CharRange> ranges) : ranges_(ranges) {
  normalise();
}

CharSet CharSet::any() {
  return CharSet{{0, kSurrogateLo - 1}, {kSurrogateHi + 1, kMaxCodePoint}};
}

void CharSet::normalise() {
  std::erase_if(ranges_, [](const CharRange& r) { return r.lo > r.hi || r.lo > kMaxCodePoint; });
  auto before = [](const CharRange& a, const CharRange& b) { return a.lo < b.lo; };
  if (!std::is_sorted(ranges_.begin(), ranges_.end(), before)) {
    std::sort(ranges_.begin(), ranges_.end(), before);
  }
  size_t size = 0;
  for (const CharRange& r : ranges_) {
    CharRange clipped = {r.lo, std::min(r.hi, kMaxCodePoint)};
    if (size > 0 && clipped.lo <= ranges_[size - 1].hi + 1) {
      ranges_[size - 1].hi = std::max(ranges_[size - 1].hi, clipped.hi);
    } else {
      ranges_[size++] = clipped;
    }
  }
  ranges_.resize(size);
}

bool CharSet::has(uint32_t c) const {
  auto above = [](uint32_t value, const CharRange& r) { return value < r.lo; };
  auto next = std::upper_bound(ranges_.begin(), ranges_.end(), c, above);
  return next != ranges_.begin() && c <= std::prev(next)->hi;
}

uint64_t CharSet::count() const {
  uint64_t total = 0;
  for (const CharRange& r : ranges_) total += uint64_t{r.hi} - r.lo + 1;
  return total;
}

uint64_t CharSet::hash() const {
  uint64_t h = 0xCBF29CE484222325u;
  auto mix = [&h](uint32_t v) {
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
  };
  for (const CharRange& r : ranges_) {
    mix(r.lo);
    mix(r.hi);
  }
  return h;
}

CharSet CharSet::unite(const CharSet& other) const {
  std::vector<CharRange> merged;
  merged.reserve(ranges_.size() + other.ranges_.size());
  std::merge(ranges_.begin(), ranges_.end(), other.ranges_.begin(), other.ranges_.end(),
             std::back_inserter(merged),
             [](const CharRange& a, const CharRange& b) { return a.lo < b.lo; });
  return CharSet(std::move(merged));
}

CharSet CharSet::intersect(const CharSet& other) const {
  CharSet out;
  for (size_t i = 0, j = 0; i < ranges_.size() && j < other.ranges_.size();) {
    const CharRange& a = ranges_[i];
    const CharRange& b = other.ranges_[j];
    uint32_t lo = std::max(a.lo, b.lo);
    uint32_t hi = std::min(a.hi, b.hi);
    if (lo <= hi) out.ranges_.push_back({lo, hi});
    a.hi < b.hi ? ++i : ++j;
  }
  return out;
}

CharSet CharSet::subtract(const CharSet& other) const {
  return intersect(other.invert());
}

CharSet CharSet::invert() const {
  CharSet out;
  uint32_t next = 0;
  for (const CharRange& r : ranges_) {
    if (r.lo > next) out.ranges_.push_back({next, r.lo - 1});
    next = r.hi + 1;
  }
  if (next <= kMaxCodePoint) out.ranges_.push_back({next, kMaxCodePoint});
  return out;
}

std::vector<Utf8Sequence> utf8_sequences(const CharSet& set) {
  std::vector<Utf8Sequence> out;
  const CharSet scalars = set.intersect(CharSet::any());
  for (const CharRange& r : scalars.ranges()) {
    uint32_t lo = r.lo;
    for (uint32_t end : kLengthEnd) {
      if (lo > end || lo > r.hi) continue;
      append_same_length(lo, std::min(r.hi, end), out);
      lo = end + 1;
    }
  }
  return out;
}

void append_utf8(std::string& out, uint32_t c) {
  std::array<uint8_t, 4> bytes{};
  size_t size = encode(std::min(c, kMaxCodePoint), bytes);
  for (size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(bytes[i]));
}

}  // namespace treadle
