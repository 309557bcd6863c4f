// Token terminals of a grammar, bound to the ids of one vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "grammar/ir/store.h"
#include "tokens/vocab.h"

namespace treadle {

class TokenTerminals {
 public:
  // Looks up every name. An error names one that the vocabulary does not have.
  static Result<TokenTerminals> bind(const Store& store, const Vocab& vocab);

  bool empty() const { return sets_.empty(); }
  // One bit a token, V / 32 + 1 words, of a token node. Stop tokens are never in it.
  std::span<const uint32_t> bits(const Node& node) const { return sets_[node.a]; }
  bool takes(const Node& node, TokenId token) const {
    return sets_[node.a][token >> 5] >> (token & 31) & 1;
  }

 private:
  std::vector<std::vector<uint32_t>> sets_;  // by index of the store's token sets
};

}  // namespace treadle
