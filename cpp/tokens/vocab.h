// A vocabulary: bytes and kind of every token id, a hash, and the trie built from it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"
#include "tokens/slice.h"
#include "tokens/trie.h"

namespace treadle {

using TokenId = uint32_t;

// The numbers are those of treadle.types.TokenKind.
enum class TokenKind : uint8_t { text = 0, control = 1, byte = 2, unused = 3 };

struct TokenSpec {
  std::string_view bytes;
  TokenKind kind = TokenKind::text;
};

struct VocabOptions {
  uint32_t size = 0;              // the model's width V; 0: as many as there are specs
  std::vector<TokenId> stop_ids;  // tokens that end the text
};

// Immutable and shared. Ids beyond the specs, and text tokens without bytes, are unused: no text
// can ask for them, so no mask allows them.
class Vocab {
 public:
  static Result<std::shared_ptr<const Vocab>> build(std::span<const TokenSpec> specs,
                                                    const VocabOptions& options);

  uint32_t size() const { return static_cast<uint32_t>(kinds_.size()); }
  TokenKind kind(TokenId id) const { return kinds_[id]; }
  bool is_text(TokenId id) const {
    return id < size() && (kinds_[id] == TokenKind::text || kinds_[id] == TokenKind::byte);
  }
  std::string_view bytes(TokenId id) const {
    return std::string_view(text_).substr(offsets_[id], offsets_[id + 1] - offsets_[id]);
  }
  std::span<const TokenId> stop_ids() const { return stop_ids_; }
  // Whether a control token that is no stop token has this text.
  bool is_special(std::string_view text) const;
  // The control token of this text, stop tokens included; nothing if there is none.
  std::optional<TokenId> control(std::string_view text) const {
    const auto found = controls_.find(text);
    return found == controls_.end() ? std::nullopt : std::optional(found->second);
  }
  const TokenTrie& trie() const { return trie_; }
  // Bytes of the longest text token.
  uint32_t longest() const { return longest_; }
  // The slice of a class, or null where the whole trie should be walked.
  SliceRef slice(const CharClass& chars) const { return slices_.find(*this, chars); }
  // 128 bits over size, kinds, bytes and stop ids, as 32 hexadecimal digits.
  const std::string& hash() const { return hash_; }

 private:
  Vocab() = default;
  void compute_hash();

  std::string text_;
  std::vector<uint32_t> offsets_;
  std::vector<TokenKind> kinds_;
  std::vector<TokenId> stop_ids_;
  std::map<std::string, TokenId, std::less<>> controls_;
  uint32_t longest_ = 0;
  TokenTrie trie_;
  mutable SliceCache slices_;  // derived from the rest, and shared by everyone who reads it
  std::string hash_;
};

using VocabRef = std::shared_ptr<const Vocab>;

}  // namespace treadle
