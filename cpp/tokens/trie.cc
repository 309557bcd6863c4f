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
  const size_t starts = nodes_.size() + 2;
  index_.reserve(starts + nodes_.size());
  index_.resize(starts);
  parents_.assign(nodes_.size(), kRoot);
  roots_.fill(kRoot);
  auto add = [&](uint32_t parent, size_t from, size_t to) {
    index_[parent + 1] = static_cast<uint32_t>(index_.size());
    for (size_t i = from; i < to; i += nodes_[i].subtree()) {
      index_.push_back(uint32_t{nodes_[i].byte()} << kNodeBits | static_cast<uint32_t>(i));
      parents_[i] = parent;
    }
  };
  add(kRoot, 0, nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    add(static_cast<uint32_t>(i), i + 1, i + nodes_[i].subtree());
    ++byte_starts_[nodes_[i].byte() + 1u];
  }
  index_[starts - 1] = static_cast<uint32_t>(index_.size());
  for (const uint32_t entry : entries(kRoot)) roots_[entry >> kNodeBits] = entry & kNodeMask;
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
  constexpr unsigned kScan = 4;  // children that cost what a look-up does
  if (near(node)) {
    const uint32_t past = node + nodes_[node].subtree();
    for (uint32_t i = node + 1; i < past; i += nodes_[i].subtree()) {
      if (bytes.empty() || bytes.contains(nodes_[i].byte())) out.push_back(i);
    }
    return;
  }
  const std::span<const uint32_t> all = entries(node);
  if (bytes.empty()) {
    for (const uint32_t entry : all) out.push_back(entry & kNodeMask);
    return;
  }
  if (all.size() <= kScan * bytes.count()) {
    for (const uint32_t entry : all) {
      if (bytes.contains(static_cast<uint8_t>(entry >> kNodeBits))) {
        out.push_back(entry & kNodeMask);
      }
    }
    return;
  }
  bytes.each([&](uint8_t byte) {
    const uint32_t found = child(node, byte);
    if (found != kRoot) out.push_back(found);
  });
}

uint32_t TokenTrie::child(uint32_t node, uint8_t byte) const {
  constexpr size_t kScan = 16;  // children that cost what a search does
  if (node == kRoot) return roots_[byte];
  if (near(node)) {
    const uint32_t past = node + nodes_[node].subtree();
    for (uint32_t i = node + 1; i < past; i += nodes_[i].subtree()) {
      if (nodes_[i].byte() == byte) return i;
    }
    return kRoot;
  }
  std::span<const uint32_t> all = entries(node);
  const uint32_t from = uint32_t{byte} << kNodeBits;
  if (all.size() > kScan) {
    all = all.subspan(static_cast<size_t>(std::ranges::lower_bound(all, from) - all.begin()));
  }
  for (const uint32_t entry : all) {
    if (entry >= from) return entry >> kNodeBits == byte ? entry & kNodeMask : kRoot;
  }
  return kRoot;
}

bool TokenTrie::has_child(uint32_t node, const ByteSet& bytes) const {
  if (near(node)) {
    const uint32_t past = node + nodes_[node].subtree();
    for (uint32_t i = node + 1; i < past; i += nodes_[i].subtree()) {
      if (bytes.contains(nodes_[i].byte())) return true;
    }
    return false;
  }
  return std::ranges::any_of(entries(node), [&](uint32_t entry) {
    return bytes.contains(static_cast<uint8_t>(entry >> kNodeBits));
  });
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
