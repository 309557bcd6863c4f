#include "grammar/front/choice.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "grammar/front/fuel_scope.h"
#include "grammar/ir/charset.h"
#include "support/chars.h"

namespace treadle {
namespace {

// A trie node on the path from the root to the entry that was added last.
struct Level {
  size_t depth = 0;               // bytes from the root
  std::vector<NodeRef> branches;  // tails that begin here, and finished children
};

}  // namespace

NodeRef trie(Store& store, std::vector<ChoiceEntry> entries) {
  auto before = [](const ChoiceEntry& a, const ChoiceEntry& b) { return a.text < b.text; };
  std::sort(entries.begin(), entries.end(), before);
  std::vector<Level> path(1);
  // Levels deeper than `keep` are complete; each is hung under the one above it, or under a new
  // level at `keep` when that is where the next entry turns off.
  auto fold_to = [&](std::string_view last, size_t keep) {
    while (path.back().depth > keep) {
      Level done = std::move(path.back());
      path.pop_back();
      if (path.back().depth < keep) path.push_back({keep, {}});
      size_t from = path.back().depth;
      NodeRef step = store.bytes(last.substr(from, done.depth - from));
      path.back().branches.push_back(store.cat(step, store.any_of(done.branches)));
    }
  };
  std::string_view last;
  for (const ChoiceEntry& entry : entries) {
    fold_to(last, common_prefix(last, entry.text));
    if (entry.text.size() > path.back().depth) path.push_back({entry.text.size(), {}});
    path.back().branches.push_back(entry.tail);
    last = entry.text;
  }
  fold_to(last, 0);
  return store.any_of(path.back().branches);
}

NodeRef literal_trie(Store& store, std::span<const std::string_view> strings) {
  std::vector<ChoiceEntry> entries;
  entries.reserve(strings.size());
  for (std::string_view text : strings) entries.push_back({text, store.eps()});
  return trie(store, std::move(entries));
}

Result<NodeRef> parse_choice(Store& store, std::span<const std::string> strings,
                             const Limits& limits) {
  if (strings.empty()) return unsatisfiable("", "a choice of nothing; give at least one string");
  FuelScope scope(store, limits);
  uint64_t total = 0;
  std::vector<std::string_view> views;
  for (size_t i = 0; i < strings.size(); ++i) {
    const std::string& s = strings[i];
    total += s.size();
    if (total > limits.source_bytes) {
      return limit_exceeded("source_bytes", static_cast<double>(total),
                            static_cast<double>(limits.source_bytes));
    }
    uint32_t c = 0;
    for (size_t at = 0; at < s.size();) {
      size_t size = read_utf8(s, at, c);
      if (size == 0) {
        return syntax_error("/" + std::to_string(i), "invalid UTF-8; give the choices as text");
      }
      at += size;
    }
    if (!scope.fuel().spend(1 + s.size() / 8)) return scope.fuel().status();
    views.push_back(s);
  }
  return scope.close(literal_trie(store, views));
}

}  // namespace treadle
