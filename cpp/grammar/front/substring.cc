#include "grammar/front/substring.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "grammar/front/choice.h"
#include "grammar/front/regex_unicode.h"
#include "grammar/ir/charset.h"

namespace treadle {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

struct State {
  std::map<uint32_t, uint32_t> next;  // by chunk
  uint32_t link = kNone;
  uint32_t length = 0;
};

class SuffixAutomaton {
 public:
  SuffixAutomaton() : states_(1) {}

  void append(uint32_t chunk) {
    State longer;
    longer.length = states_[last_].length + 1;
    uint32_t made = add(std::move(longer));
    uint32_t p = last_;
    for (; p != kNone && !states_[p].next.contains(chunk); p = states_[p].link) {
      states_[p].next[chunk] = made;
    }
    states_[made].link = p == kNone ? 0 : target(p, chunk);
    last_ = made;
  }

  // Longer states first: an arc always leads to a longer one.
  NodeRef lower(Store& store, std::span<const std::string_view> words) const {
    std::vector<uint32_t> order(states_.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return states_[a].length > states_[b].length; });
    std::vector<NodeRef> nodes(states_.size());
    for (uint32_t i : order) {
      std::vector<ChoiceEntry> entries;
      for (const auto& [chunk, to] : states_[i].next) entries.push_back({words[chunk], nodes[to]});
      nodes[i] = store.alt(store.eps(), trie(store, std::move(entries)));
      if (!store.ok()) return store.empty();
    }
    return nodes[0];
  }

 private:
  uint32_t add(State state) {
    states_.push_back(std::move(state));
    return static_cast<uint32_t>(states_.size() - 1);
  }

  // The state that `chunk` leads to from p, split off if longer texts share it.
  uint32_t target(uint32_t p, uint32_t chunk) {
    uint32_t q = states_[p].next[chunk];
    if (states_[q].length == states_[p].length + 1) return q;
    State copy = states_[q];
    copy.length = states_[p].length + 1;
    uint32_t split = add(std::move(copy));
    states_[q].link = split;
    for (; p != kNone; p = states_[p].link) {
      auto arc = states_[p].next.find(chunk);
      if (arc == states_[p].next.end() || arc->second != q) break;
      arc->second = split;
    }
    return split;
  }

  std::vector<State> states_;
  uint32_t last_ = 0;
};

}  // namespace

NodeRef substring(Store& store, std::span<const std::string_view> chunks) {
  SuffixAutomaton automaton;
  std::vector<std::string_view> words;
  std::unordered_map<std::string_view, uint32_t> known;
  for (std::string_view chunk : chunks) {
    if (chunk.empty()) continue;
    auto [entry, fresh] = known.try_emplace(chunk, static_cast<uint32_t>(words.size()));
    if (fresh) words.push_back(chunk);
    automaton.append(entry->second);
  }
  return automaton.lower(store, words);
}

std::vector<std::string_view> split_chars(std::string_view text) {
  std::vector<std::string_view> out;
  uint32_t c = 0;
  for (size_t at = 0; at < text.size();) {
    size_t size = std::max<size_t>(1, read_utf8(text, at, c));
    out.push_back(text.substr(at, size));
    at += size;
  }
  return out;
}

std::vector<std::string_view> split_words(std::string_view text) {
  CharSet words = unicode_property("L")->unite(*unicode_property("N")).unite(CharSet::single('_'));
  CharSet blanks = unicode_property("Z")->unite(CharSet{{0x09, 0x0D}, {0x85, 0x85}});
  std::vector<std::string_view> out;
  int last = -1;
  for (std::string_view piece : split_chars(text)) {
    uint32_t c = 0;
    read_utf8(piece, 0, c);
    int kind = words.has(c) ? 0 : blanks.has(c) ? 1 : 2;
    if (kind == last) {
      out.back() = std::string_view(out.back().data(), out.back().size() + piece.size());
    } else {
      out.push_back(piece);
    }
    last = kind;
  }
  return out;
}

}  // namespace treadle
