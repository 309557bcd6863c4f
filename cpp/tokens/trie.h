// The token trie in preorder: one sequential array, so a walk is a scan with jumps.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "support/bitset.h"
#include "support/huge_pages.h"

namespace treadle {

// Eight bytes a node. `depth` is that of the parent: the walk finds the state before this node's
// byte in slot `depth` of its stack.
struct TrieNode {
  uint64_t bits;

  static TrieNode make(uint8_t byte, uint8_t depth, uint32_t token) {
    return {uint64_t{byte} | uint64_t{depth} << 8 | uint64_t{token} << 16 | uint64_t{1} << 40};
  }
  uint8_t byte() const { return static_cast<uint8_t>(bits); }
  uint8_t depth() const { return static_cast<uint8_t>(bits >> 8); }
  uint32_t token() const { return static_cast<uint32_t>(bits >> 16) & 0xFFFFFF; }
  uint32_t subtree() const { return static_cast<uint32_t>(bits >> 40); }  // this node included
  void set_token(uint32_t token) {
    bits = (bits & ~(uint64_t{0xFFFFFF} << 16)) | uint64_t{token} << 16;
  }
  void set_subtree(uint32_t size) { bits = (bits & 0xFFFFFFFFFF) | uint64_t{size} << 40; }
};

inline constexpr uint32_t kMaxTokens = 0xFFFFFF;  // ids have 24 bits
inline constexpr uint32_t kMaxTrieDepth = 255;    // longer tokens are kept apart

struct TrieEntry {
  std::string_view bytes;  // never empty
  uint32_t token;
};

class TokenTrie {
 public:
  // The views are only read while building. Nodes that end no token carry `none` as theirs.
  void build(std::vector<TrieEntry> entries, uint32_t none);

  // The trie of the tokens t with kept[t]; `none` as in build(). `origin`: of each of its nodes,
  // the node here that spells the same.
  TokenTrie only(const std::vector<bool>& kept, uint32_t none, std::vector<uint32_t>& origin) const;

  std::span<const TrieNode> nodes() const { return nodes_; }
  // Makes what follows work: 16 bytes a node.
  void index();
  // The nodes of one byte, ascending, and the node before each (kRoot: none).
  std::span<const uint32_t> of_byte(uint8_t byte) const;
  uint32_t parent(uint32_t node) const { return parents_[node]; }
  // Appends the children of `node` by some bytes, or by all if `bytes` is empty. kRoot: the nodes
  // of first bytes.
  static constexpr uint32_t kRoot = UINT32_MAX;
  void children(uint32_t node, const ByteSet& bytes, std::vector<uint32_t>& out) const;
  // The child by one byte; kRoot: there is none.
  uint32_t child(uint32_t node, uint8_t byte) const;
  // Whether there is a child by one of some bytes.
  bool has_child(uint32_t node, const ByteSet& bytes) const;
  // Fetches what a look at a node, and then one at its children, will need.
  void prefetch(uint32_t node) const {
    __builtin_prefetch(&nodes_[node]);
    __builtin_prefetch(&index_[node + 1]);
  }
  void prefetch_children(uint32_t node) const {
    if (node != kRoot && !near(node)) __builtin_prefetch(&index_[index_[node + 1]]);
  }
  // The nodes of byte kDeep + 1, ascending: what longer tokens go through.
  static constexpr uint32_t kDeep = 24;
  std::span<const uint32_t> deep() const { return deep_; }
  // Tokens that spell the same bytes as one in the trie: (the one in the trie, its double).
  struct Double {
    uint32_t token, same_as;
  };
  std::span<const Double> doubles() const { return doubles_; }
  // Tokens of more than kMaxTrieDepth bytes; there are next to none.
  std::span<const uint32_t> giants() const { return giants_; }

 private:
  static constexpr uint32_t kNodeBits = 24;  // of a node's number, and of subtree()
  static constexpr uint32_t kNodeMask = (uint32_t{1} << kNodeBits) - 1;
  // The children of a node with a small subtree lie on its own lines of memory: those are read
  // rather than the index, which would be four lines more.
  static constexpr uint32_t kNear = 12;
  bool near(uint32_t node) const { return node != kRoot && nodes_[node].subtree() <= kNear; }
  std::span<const uint32_t> entries(uint32_t node) const {
    const uint32_t from = index_[node + 1];  // the root is -1
    return {index_.data() + from, index_[node + 2] - from};
  }

  HugeVector<TrieNode> nodes_;
  std::array<uint32_t, 256> roots_{};  // by first byte
  // Of node i - 1 (0: of the root) the children begin at [i], of which each is byte << 24 | node.
  HugeVector<uint32_t> index_;
  std::vector<uint32_t> parents_;  // by node
  std::vector<uint32_t> by_byte_;  // nodes by byte
  std::array<uint32_t, 257> byte_starts_{};
  std::vector<uint32_t> deep_;
  std::vector<Double> doubles_;
  std::vector<uint32_t> giants_;
};

}  // namespace treadle
