#include "grammar/front/special_text.h"

#include <map>
#include <string>
#include <utility>

namespace treadle {
namespace {

constexpr size_t kMostMarks = 6;  // of one text: each may be a token or letters

struct Mark {
  size_t at, size;
};

bool blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// What looks like a special token, <name> or [NAME], and is one.
std::vector<Mark> marks_in(Store& store, std::string_view text) {
  std::vector<Mark> out;
  for (size_t i = 0; i < text.size() && out.size() < kMostMarks; ++i) {
    if (text[i] != '<' && text[i] != '[') continue;
    const char close = text[i] == '<' ? '>' : ']';
    size_t end = i + 1;
    while (end < text.size() && text[end] != close && text[end] != text[i] && !blank(text[end])) {
      ++end;
    }
    if (end >= text.size() || text[end] != close || end == i + 1) continue;
    const Mark mark{i, end + 1 - i};
    if (!store.special(text.substr(mark.at, mark.size))) continue;
    out.push_back(mark);
    i = end;
  }
  return out;
}

}  // namespace

// By the first mark that is a token: the letters before it, the token, then any spelling of the
// rest. Entries that agree so far share them, as in a trie.
NodeRef by_tokens(Store& store, const std::vector<ChoiceEntry>& entries) {
  std::map<std::pair<std::string_view, std::string_view>, std::vector<ChoiceEntry>> groups;
  for (const ChoiceEntry& entry : entries) {
    for (const Mark& mark : marks_in(store, entry.text)) {
      const std::string_view before = entry.text.substr(0, mark.at);
      const std::string_view name = entry.text.substr(mark.at, mark.size);
      groups[{before, name}].push_back({entry.text.substr(mark.at + mark.size), entry.tail});
    }
  }
  std::vector<NodeRef> out;
  for (const auto& [begin, rest] : groups) {
    TokenSet set;
    set.names.emplace_back(begin.second);
    const NodeRef token = store.tokens(std::move(set));
    const NodeRef behind = store.alt(trie(store, rest), by_tokens(store, rest));
    out.push_back(store.cat(store.bytes(begin.first), store.cat(token, behind)));
  }
  return store.any_of(out);
}

NodeRef literal(Store& store, std::string_view text) {
  return store.alt(store.bytes(text), by_tokens(store, {{text, store.eps()}}));
}

}  // namespace treadle
