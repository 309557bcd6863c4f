#include "tokens/trie.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>

#include "support/chars.h"

namespace treadle {

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

void TokenTrie::index() {
  child_starts_.reserve(nodes_.size() + 2);
  children_.reserve(nodes_.size());
  child_bytes_.reserve(nodes_.size());
  parents_.assign(nodes_.size(), kRoot);
  auto add = [&](uint32_t parent, size_t from, size_t to) {
    child_starts_.push_back(static_cast<uint32_t>(children_.size()));
    for (size_t i = from; i < to; i += nodes_[i].subtree()) {
      children_.push_back(static_cast<uint32_t>(i));
      child_bytes_.push_back(nodes_[i].byte());
      parents_[i] = parent;
    }
  };
  add(kRoot, 0, nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    add(static_cast<uint32_t>(i), i + 1, i + nodes_[i].subtree());
    ++byte_starts_[nodes_[i].byte() + 1u];
  }
  child_starts_.push_back(static_cast<uint32_t>(children_.size()));
  std::partial_sum(byte_starts_.begin(), byte_starts_.end(), byte_starts_.begin());
  by_byte_.resize(nodes_.size());
  std::array<uint32_t, 257> next = byte_starts_;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].depth() == kDeep) deep_.push_back(static_cast<uint32_t>(i));
    by_byte_[next[nodes_[i].byte()]++] = static_cast<uint32_t>(i);
  }
}

std::span<const uint32_t> TokenTrie::of_byte(uint8_t byte) const {
  return std::span(by_byte_).subspan(byte_starts_[byte],
                                     byte_starts_[byte + 1u] - byte_starts_[byte]);
}

void TokenTrie::children(uint32_t node, const ByteSet& bytes, std::vector<uint32_t>& out) const {
  constexpr unsigned kScan = 4;             // children that cost what a look-up does
  uint32_t from = child_starts_[node + 1];  // the root is -1
  uint32_t to = child_starts_[node + 2];
  if (bytes.empty()) {
    out.insert(out.end(), children_.begin() + from, children_.begin() + to);
    return;
  }
  if (to - from <= kScan * bytes.count()) {
    for (uint32_t i = from; i < to; ++i) {
      if (bytes.contains(child_bytes_[i])) out.push_back(children_[i]);
    }
    return;
  }
  bytes.each([&](uint8_t byte) {
    auto end = child_bytes_.begin() + to;
    auto found = std::lower_bound(child_bytes_.begin() + from, end, byte);
    if (found != end && *found == byte) {
      out.push_back(children_[static_cast<size_t>(found - child_bytes_.begin())]);
    }
  });
}

uint32_t TokenTrie::child(uint32_t node, uint8_t byte) const {
  constexpr uint32_t kScan = 16;            // children that cost what a search does
  uint32_t from = child_starts_[node + 1];  // the root is -1
  const uint32_t to = child_starts_[node + 2];
  if (to - from > kScan) {
    const auto end = child_bytes_.begin() + to;
    from = static_cast<uint32_t>(std::lower_bound(child_bytes_.begin() + from, end, byte) -
                                 child_bytes_.begin());
  }
  for (; from < to && child_bytes_[from] <= byte; ++from) {
    if (child_bytes_[from] == byte) return children_[from];
  }
  return kRoot;
}

bool TokenTrie::has_child(uint32_t node, const ByteSet& bytes) const {
  const uint32_t to = child_starts_[node + 2];
  for (uint32_t i = child_starts_[node + 1]; i < to; ++i) {
    if (bytes.contains(child_bytes_[i])) return true;
  }
  return false;
}

TokenTrie TokenTrie::only(const std::vector<bool>& kept, uint32_t none,
                          std::vector<uint32_t>& origin) const {
  // Backwards, children come before their parents: below[d] says whether a node of depth d - 1 that
  // is still to come has a kept token below it.
  std::array<uint8_t, kMaxTrieDepth + 2> below{};
  std::vector<uint8_t> stays(nodes_.size(), 0);
  for (size_t i = nodes_.size(); i-- > 0;) {
    uint32_t depth = nodes_[i].depth();
    uint32_t token = nodes_[i].token();
    stays[i] = below[depth + 1] || (token != none && kept[token]);
    below[depth + 1] = 0;
    below[depth] |= stays[i];
  }
  TokenTrie out;
  std::vector<uint32_t> path;
  auto close = [&](size_t depth) {
    while (path.size() > depth) {
      out.nodes_[path.back()].set_subtree(static_cast<uint32_t>(out.nodes_.size()) - path.back());
      path.pop_back();
    }
  };
  for (size_t i = 0; i < nodes_.size();) {
    if (!stays[i]) {
      i += nodes_[i].subtree();
      continue;
    }
    origin.push_back(static_cast<uint32_t>(i));
    TrieNode node = nodes_[i++];
    close(node.depth());
    if (node.token() != none && !kept[node.token()]) node.set_token(none);
    path.push_back(static_cast<uint32_t>(out.nodes_.size()));
    out.nodes_.push_back(node);
  }
  close(0);
  out.nodes_.shrink_to_fit();
  std::copy_if(giants_.begin(), giants_.end(), std::back_inserter(out.giants_),
               [&](uint32_t token) { return kept[token]; });
  return out;
}

}  // namespace treadle
