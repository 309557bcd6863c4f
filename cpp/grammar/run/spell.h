// The way of a text through the token trie.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "grammar/run/mask_bits.h"
#include "tokens/trie.h"

namespace treadle {

// Adds the tokens on the way from a trie node (kRoot: from the start) along `text`, but for the one
// at its end. The node there; kRoot when no token goes so far.
uint32_t add_spelled(const TokenTrie& trie, uint32_t node, std::string_view text, MaskBits& out);

struct Spelled {
  std::string_view text;             // not empty
  uint32_t node = TokenTrie::kRoot;  // where it begins, and then where it ends
};

// The same for many texts side by side: each way is a chain of memory that nobody has touched for
// a while, and so none waits for another's.
void add_spelled(const TokenTrie& trie, std::span<Spelled> texts, MaskBits& out);

}  // namespace treadle
