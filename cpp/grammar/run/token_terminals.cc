#include "grammar/run/token_terminals.h"

#include <string>
#include <string_view>
#include <unordered_map>

namespace treadle {

namespace {

std::unordered_map<std::string_view, TokenId> texts_of(const Vocab& vocab) {
  std::unordered_map<std::string_view, TokenId> out;
  for (TokenId id = 0; id < vocab.size(); ++id) {
    if (vocab.kind(id) == TokenKind::text) out.try_emplace(vocab.bytes(id), id);
  }
  return out;
}

}  // namespace

Result<TokenTerminals> TokenTerminals::bind(const Store& store, const Vocab& vocab) {
  TokenTerminals out;
  std::unordered_map<std::string_view, TokenId> names;
  for (const TokenSet& set : store.token_sets()) {
    std::vector<uint32_t> bits(vocab.size() / 32 + 1, 0);
    auto flip = [&](TokenId id) { bits[id >> 5] ^= uint32_t{1} << (id & 31); };
    auto has = [&](TokenId id) { return bits[id >> 5] >> (id & 31) & 1; };
    for (TokenId id : set.ids) {
      if (id >= vocab.size()) {
        return grammar_error(Reason::unsatisfiable, "",
                             "token " + std::to_string(id) + " is outside the vocabulary of " +
                                 std::to_string(vocab.size()) + "; take an id below that");
      }
      if (!has(id)) flip(id);
    }
    for (const std::string& name : set.names) {
      // Control tokens first: a name means the special token where text is spelt alike.
      if (const std::optional<TokenId> control = vocab.control(name)) {
        if (!has(*control)) flip(*control);
        continue;
      }
      if (names.empty()) names = texts_of(vocab);
      auto found = names.find(name);
      if (found == names.end()) {
        return grammar_error(Reason::unsatisfiable, "",
                             "the vocabulary has no token \"" + name +
                                 "\"; take one that it has, or write the text without a token");
      }
      if (!has(found->second)) flip(found->second);
    }
    for (TokenId id = 0; set.negated && id < vocab.size(); ++id) {
      if (vocab.kind(id) != TokenKind::unused) flip(id);
    }
    for (TokenId id : vocab.stop_ids()) {
      if (has(id)) flip(id);
    }
    out.sets_.push_back(std::move(bits));
  }
  return out;
}

}  // namespace treadle
