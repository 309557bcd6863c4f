#include "tokens/slice.h"

#include <algorithm>
#include <array>
#include <numeric>

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

// The characters of each token, kOutside for those with others. Tokens that are not in the trie
// stay outside: those who fill masks see to them.
std::vector<uint8_t> units_of_all(const Vocab& vocab, const CharClass& chars) {
  constexpr uint32_t kMixed = UINT32_MAX;  // some bytes are not ASCII: the token is read by itself
  std::vector<uint8_t> out(vocab.size(), kOutside);
  std::array<uint32_t, kMaxTrieDepth + 1> units{};
  std::span<const TrieNode> nodes = vocab.trie().nodes();
  for (size_t i = 0; i < nodes.size();) {
    const TrieNode node = nodes[i];
    const bool ascii = node.byte() < 0x80;
    if (ascii ? !chars.ascii.contains(node.byte()) : !chars.beyond) {
      i += node.subtree();
      continue;
    }
    const uint32_t before = units[node.depth()];
    const uint32_t here = ascii && before != kMixed ? before + 1 : kMixed;
    units[node.depth() + 1] = here;
    ++i;
    if (node.token() == vocab.size()) continue;
    const uint32_t all = here == kMixed ? units_of(vocab.bytes(node.token()), chars) : here;
    if (all <= kSliceUnits) out[node.token()] = static_cast<uint8_t>(all);
  }
  return out;
}

}  // namespace

SliceRef Slice::build(const Vocab& vocab, const CharClass& chars) {
  constexpr uint32_t kLong = 24;
  const std::vector<uint8_t> units = units_of_all(vocab, chars);
  std::array<uint32_t, kSliceUnits + 1> counts{};
  for (const uint8_t each : units) ++counts[each];
  uint32_t texts = 0;
  for (TokenId id = 0; id < vocab.size(); ++id) texts += vocab.is_text(id) ? 1 : 0;
  const uint32_t inside = vocab.size() - counts[kOutside];
  const bool any_long =
      std::any_of(counts.begin() + kLong, counts.end(), [](uint32_t count) { return count > 0; });
  if (inside < texts / 4 && !any_long) return nullptr;
  auto slice = std::make_shared<Slice>();
  slice->words_ = vocab.size() / 32 + 1;
  slice->bits_.assign((kSliceRows + 2) * slice->words_, 0);
  counts[kOutside] = 0;
  std::fill_n(counts.begin(), kSliceRows + 1, 0u);
  std::partial_sum(counts.begin(), counts.end(), counts.begin());
  slice->ending_.assign(counts.begin(), counts.end());
  slice->longer_.resize(counts.back());
  std::vector<bool> outside(vocab.size());
  for (TokenId id = vocab.size(); id-- > 0;) {
    outside[id] = units[id] == kOutside;
    if (outside[id]) continue;
    const uint32_t row = std::min<uint32_t>(units[id], kSliceRows + 1);
    slice->bits_[row * slice->words_ + (id >> 5)] |= uint32_t{1} << (id & 31);
    if (row > kSliceRows) slice->longer_[--counts[units[id]]] = id;
  }
  for (size_t i = slice->words_; i < slice->bits_.size(); ++i) {
    slice->bits_[i] |= slice->bits_[i - slice->words_];
  }
  slice->rest_ = vocab.trie().only(outside, vocab.size(), slice->origin_);
  slice->origin_.shrink_to_fit();
  return slice;
}

std::span<const uint32_t> Slice::at_most(uint32_t units) const {
  const uint32_t row = units >= kSliceUnits ? kSliceRows + 1 : std::min(units, kSliceRows);
  return std::span(bits_).subspan(row * words_, words_);
}

std::span<const uint32_t> Slice::longer(uint32_t units) const {
  if (units >= kSliceUnits) return {};  // they are in the row
  return std::span(longer_).first(ending_[units]);
}

std::span<const uint32_t> Slice::above(uint32_t units) const {
  return std::span(longer_).subspan(ending_[std::min(units, kSliceUnits)]);
}

uint64_t Slice::memory() const {
  return sizeof(Slice) + bits_.capacity() * sizeof(bits_[0]) +
         (longer_.capacity() + ending_.capacity()) * sizeof(uint32_t) + rest_.nodes().size_bytes() +
         origin_.capacity() * sizeof(origin_[0]);
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
