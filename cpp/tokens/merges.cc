#include "tokens/merges.h"

#include <algorithm>
#include <cstring>
#include <queue>
#include <string>
#include <tuple>
#include <utility>

namespace treadle {

namespace {

constexpr uint32_t none = 0xFFFFFFFF;
constexpr uint32_t most_ids = 1 << 26;  // a hundred times the largest vocabulary
constexpr size_t short_word = 24;       // of which looking at all ranks is faster than a queue

// A symbol of a word under way; one that was taken into its left neighbour has no id.
struct Symbol {
  uint32_t id;
  uint32_t before;
  uint32_t after;
};

// A join that was possible when it was queued.
struct Chance {
  uint32_t rank;
  uint32_t at;
  uint32_t joined;

  bool operator>(const Chance& other) const {
    return std::tie(rank, at) > std::tie(other.rank, other.at);
  }
};

}  // namespace

Result<Merges> Merges::make(std::string_view rows, uint32_t ids) {
  if (ids > most_ids) return invalid_request("ids", "are more than any vocabulary has");
  Merges out;
  std::vector<uint32_t> of_left(ids, 0);
  const size_t count = rows.size() / sizeof(Merge);
  const auto row = [&](size_t i) {
    Merge out;
    std::memcpy(&out, rows.data() + i * sizeof out, sizeof out);
    return out;
  };
  Merge before{};
  for (size_t i = 0; i < count; ++i) {
    const Merge m = row(i);
    const bool known = m.left < ids && m.right < ids && m.joined < ids;
    const bool ascends = i == 0 || std::tie(before.left, before.right) < std::tie(m.left, m.right);
    if (!known || !ascends) {
      return invalid_request("merges[" + std::to_string(i) + "]",
                             "must ascend and name ids of the vocabulary");
    }
    ++of_left[m.left];
    before = m;
  }
  out.starts_.reserve(size_t{ids} + 1);
  uint32_t start = 0;
  out.starts_.push_back(start);
  for (uint32_t more : of_left) out.starts_.push_back(start += more);
  out.joins_.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const Merge m = row(i);
    out.joins_.push_back({m.right, m.rank, m.joined});
  }
  return out;
}

const Merges::Join* Merges::find(uint32_t left, uint32_t right) const {
  if (size_t{left} + 1 >= starts_.size()) return nullptr;
  const Join* const end = joins_.data() + starts_[left + 1];
  const Join* const found =
      std::lower_bound(joins_.data() + starts_[left], end, right,
                       [](const Join& join, uint32_t wanted) { return join.right < wanted; });
  return found != end && found->right == right ? found : nullptr;
}

// As apply(), for at most short_word symbols, which it joins in place: the lowest rank, and of
// equal ones the first, until there is none.
void Merges::apply_short(std::span<uint32_t> word, std::vector<uint32_t>& out) const {
  const Join* joins[short_word];  // of a symbol and the next
  size_t count = word.size();
  for (size_t i = 0; i + 1 < count; ++i) joins[i] = find(word[i], word[i + 1]);
  while (count > 1) {
    size_t best = count;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (joins[i] && (best == count || joins[i]->rank < joins[best]->rank)) best = i;
    }
    if (best == count) break;
    word[best] = joins[best]->joined;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      word[i] = word[i + 1];
      joins[i - 1] = joins[i];
    }
    // The joins behind moved with their symbols; the two beside the new one are others.
    --count;
    if (best > 0) joins[best - 1] = find(word[best - 1], word[best]);
    if (best + 1 < count) joins[best] = find(word[best], word[best + 1]);
  }
  out.insert(out.end(), word.begin(), word.begin() + static_cast<std::ptrdiff_t>(count));
}

void Merges::encode_ascii(std::string_view text, AsciiCut cut,
                          const std::array<uint32_t, 128>& symbols,
                          std::vector<uint32_t>& out) const {
  std::vector<uint32_t> word;
  for (size_t at = 0; at < text.size();) {
    const size_t end = ascii_word_end(cut, text, at);
    word.clear();
    for (; at < end; ++at) word.push_back(symbols[static_cast<uint8_t>(text[at]) & 127]);
    apply(word, out);
  }
}

void Merges::apply(std::span<const uint32_t> word, std::vector<uint32_t>& out) const {
  if (word.size() <= short_word) {
    uint32_t joined[short_word];
    std::copy(word.begin(), word.end(), joined);
    return apply_short(std::span(joined, word.size()), out);
  }
  std::vector<Symbol> symbols(word.size());
  std::vector<Chance> first;
  for (uint32_t i = 0; i < word.size(); ++i) {
    const uint32_t after = i + 1 < word.size() ? i + 1 : none;
    symbols[i] = {word[i], i - 1, after};  // before the first: none
    const Join* const m = after == none ? nullptr : find(word[i], word[after]);
    if (m) first.push_back({m->rank, i, m->joined});
  }
  std::priority_queue chances(std::greater<Chance>(), std::move(first));
  const auto offer = [&](uint32_t at, uint32_t next) {
    const Join* const m = find(symbols[at].id, symbols[next].id);
    if (m) chances.push({m->rank, at, m->joined});
  };
  while (!chances.empty()) {
    const Chance best = chances.top();
    chances.pop();
    Symbol& left = symbols[best.at];
    if (left.id == none || left.after == none) continue;
    Symbol& right = symbols[left.after];
    const Join* const still = find(left.id, right.id);
    if (!still || still->joined != best.joined) continue;  // a neighbour has changed meanwhile
    left.id = best.joined;
    right.id = none;
    left.after = right.after;
    if (left.after != none) symbols[left.after].before = best.at;
    if (left.before != none) offer(left.before, best.at);
    if (left.after != none) offer(best.at, left.after);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.id != none) out.push_back(symbol.id);
  }
}

}  // namespace treadle
