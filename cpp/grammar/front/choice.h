// One of a list of strings, as a trie.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle {

// A string and what follows it.
struct ChoiceEntry {
  std::string_view text;
  NodeRef tail = 0;
};

// The union of text·tail over the entries, as a trie: common prefixes are shared and runs without
// a branch stay literals, so a derivative costs O(branches of one trie node), not O(entries).
NodeRef trie(Store& store, std::vector<ChoiceEntry> entries);
NodeRef literal_trie(Store& store, std::span<const std::string_view> strings);

// A choice as a caller asks for it. `at` of an error is "/index". An empty list is unsatisfiable,
// an empty string allowed, invalid UTF-8 refused.
Result<NodeRef> parse_choice(Store& store, std::span<const std::string> strings,
                             const Limits& limits);

}  // namespace treadle
