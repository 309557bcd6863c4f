// The token trie in preorder: one sequential array, so a walk is a scan with jumps.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "support/bitset.h"

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
  // Makes what follows work: 17 bytes a node.
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
  std::vector<TrieNode> nodes_;
  std::vector<uint32_t> child_starts_;  // by node + 1, into the two below; [0]: the root
  std::vector<uint32_t> children_;
  std::vector<uint8_t> child_bytes_;
  std::vector<uint32_t> parents_;  // by node
  std::vector<uint32_t> by_byte_;  // nodes by byte
  std::array<uint32_t, 257> byte_starts_{};
  std::vector<uint32_t> deep_;
  std::vector<Double> doubles_;
  std::vector<uint32_t> giants_;
};

}  // namespace treadle
