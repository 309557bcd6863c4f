#include "tokens/trie.h"

#include <algorithm>

namespace treadle {

namespace {

size_t common_prefix(std::string_view a, std::string_view b) {
  size_t n = std::min(a.size(), b.size());
  size_t i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return i;
}

}  // namespace

void TokenTrie::build(std::vector<TrieEntry> entries, uint32_t none) {
  nodes_.clear();
  doubles_.clear();
  giants_.clear();
  std::erase_if(entries, [&](const TrieEntry& entry) {
    bool giant = entry.bytes.size() > kMaxTrieDepth;
    if (giant) giants_.push_back(entry.token);
    return giant;
  });
  // string_view compares as unsigned bytes: a prefix comes before what it begins.
  std::sort(entries.begin(), entries.end(), [](const TrieEntry& a, const TrieEntry& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.token < b.token;
  });
  std::vector<uint32_t> path;  // nodes from the root to the last one added
  auto close = [&](size_t depth) {
    while (path.size() > depth) {
      nodes_[path.back()].set_subtree(static_cast<uint32_t>(nodes_.size()) - path.back());
      path.pop_back();
    }
  };
  std::string_view last;
  uint32_t last_token = none;
  for (const TrieEntry& entry : entries) {
    if (last_token != none && entry.bytes == last) {
      doubles_.push_back({entry.token, last_token});
      continue;
    }
    close(common_prefix(last, entry.bytes));
    for (size_t depth = path.size(); depth < entry.bytes.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back(TrieNode::make(static_cast<uint8_t>(entry.bytes[depth]),
                                      static_cast<uint8_t>(depth), none));
    }
    nodes_[path.back()].set_token(entry.token);
    last = entry.bytes;
    last_token = entry.token;
  }
  close(0);
  nodes_.shrink_to_fit();
}

}  // namespace treadle
