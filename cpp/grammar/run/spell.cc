#include "grammar/run/spell.h"

#include <algorithm>
#include <array>

namespace treadle {

uint32_t add_spelled(const TokenTrie& trie, uint32_t node, std::string_view text, MaskBits& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0) out.set(trie.nodes()[node].token());
    node = trie.child(node, static_cast<uint8_t>(text[i]));
    if (node == TokenTrie::kRoot) break;
  }
  return node;
}

void add_spelled(const TokenTrie& trie, std::span<Spelled> texts, MaskBits& out) {
  constexpr size_t kTogether = 32;  // more than memory serves at a time
  std::array<uint32_t, kTogether> going;
  for (; !texts.empty(); texts = texts.subspan(std::min(kTogether, texts.size()))) {
    size_t count = std::min(kTogether, texts.size());
    for (uint32_t i = 0; i < count; ++i) going[i] = i;
    for (size_t at = 0; count > 0; ++at) {
      for (size_t i = 0; i < count; ++i) trie.prefetch_children(texts[going[i]].node);
      size_t left = 0;
      for (size_t i = 0; i < count; ++i) {
        Spelled& each = texts[going[i]];
        if (at > 0) out.set(trie.nodes()[each.node].token());
        each.node = trie.child(each.node, static_cast<uint8_t>(each.text[at]));
        if (each.node == TokenTrie::kRoot) continue;
        trie.prefetch(each.node);
        if (at + 1 < each.text.size()) going[left++] = going[i];
      }
      count = left;
    }
  }
}

}  // namespace treadle
