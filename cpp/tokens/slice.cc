#include "tokens/slice.h"

#include <algorithm>

#include "support/utf8.h"
#include "tokens/vocab.h"

namespace treadle {

namespace {

constexpr uint32_t kOutside = 0;

// How many characters of the class spell `bytes`; kOutside when others are needed.
uint32_t units_of(std::string_view bytes, const CharClass& chars) {
  uint32_t units = 0;
  for (size_t at = 0; at < bytes.size(); ++units) {
    auto byte = static_cast<uint8_t>(bytes[at]);
    if (byte < 0x80) {
      if (!chars.ascii.contains(byte)) return kOutside;
      ++at;
      continue;
    }
    uint32_t code = 0;
    size_t width = chars.beyond ? read_utf8(bytes, at, code) : 0;
    if (width == 0) return kOutside;
    at += width;
  }
  return units;
}

}  // namespace

SliceRef Slice::build(const Vocab& vocab, const CharClass& chars) {
  constexpr uint32_t kLong = 24;
  std::vector<std::vector<TokenId>> by_units(kSliceUnits + 1);
  std::vector<bool> outside(vocab.size(), false);
  uint32_t inside = 0, texts = 0, longest = 0;
  for (TokenId id = 0; id < vocab.size(); ++id) {
    if (!vocab.is_text(id)) continue;
    ++texts;
    uint32_t units = units_of(vocab.bytes(id), chars);
    if (units == kOutside || units > kSliceUnits) {
      outside[id] = true;
      continue;
    }
    ++inside;
    longest = std::max(longest, units);
    by_units[units].push_back(id);
  }
  if (inside < texts / 4 && longest < kLong) return nullptr;
  auto slice = std::make_shared<Slice>();
  slice->words_ = vocab.size() / 32 + 1;
  slice->row_.assign(kSliceUnits + 1, 0);
  slice->bits_.assign(slice->words_, 0);  // the first row: no unit, no token
  for (uint32_t units = 1; units <= kSliceUnits; ++units) {
    slice->row_[units] = slice->row_[units - 1];
    if (by_units[units].empty()) continue;
    size_t from = slice->bits_.size() - slice->words_;
    slice->bits_.resize(slice->bits_.size() + slice->words_);
    std::copy_n(slice->bits_.begin() + static_cast<std::ptrdiff_t>(from), slice->words_,
                slice->bits_.end() - static_cast<std::ptrdiff_t>(slice->words_));
    uint32_t* row = slice->bits_.data() + slice->bits_.size() - slice->words_;
    for (TokenId id : by_units[units]) row[id >> 5] |= uint32_t{1} << (id & 31);
    ++slice->row_[units];
  }
  slice->bits_.shrink_to_fit();
  slice->rest_ = vocab.trie().only(outside, vocab.size(), slice->origin_);
  slice->origin_.shrink_to_fit();
  return slice;
}

std::span<const uint32_t> Slice::at_most(uint32_t units) const {
  return std::span(bits_).subspan(row_[std::min(units, kSliceUnits)] * words_, words_);
}

uint64_t Slice::memory() const {
  return sizeof(Slice) + bits_.capacity() * sizeof(bits_[0]) + row_.capacity() +
         rest_.nodes().size_bytes() + origin_.capacity() * sizeof(origin_[0]);
}

void SliceCache::prebuild(const Vocab& vocab) {
  CharClass chars{ByteSet::range(0x20, 0x7F), true};
  chars.ascii.erase('"');
  chars.ascii.erase('\\');
  CharClass space;
  for (const char c : {' ', '\t', '\n', '\r'}) space.ascii.insert(static_cast<uint8_t>(c));
  Guard guard(lock_);
  for (const CharClass& each : {chars, space}) build(entry_of(each), vocab, each);
}

SliceRef SliceCache::find(const Vocab& vocab, const CharClass& chars) {
  constexpr unsigned kFewest = 24;  // narrower classes end a plain walk early by themselves
  constexpr uint32_t kWalks = 10;   // plain walks that cost what a slice does
  Guard guard(lock_);
  if (entries_.size() > kMostClasses) return nullptr;
  Entry& entry = entry_of(chars);
  bool wide = chars.beyond || chars.ascii.count() >= kFewest;
  if (!entry.tried && wide && ++entry.asked > kWalks && bytes_ < kMostBytes) {
    build(entry, vocab, chars);
  }
  return entry.slice;
}

SliceCache::Entry& SliceCache::entry_of(const CharClass& chars) {
  const auto& words = chars.ascii.words();
  return entries_[{words[0], words[1], chars.beyond}];
}

void SliceCache::build(Entry& entry, const Vocab& vocab, const CharClass& chars) {
  entry.tried = true;
  entry.slice = Slice::build(vocab, chars);
  bytes_ += entry.slice ? entry.slice->memory() : 0;
}

}  // namespace treadle
