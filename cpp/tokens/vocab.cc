#include "tokens/vocab.h"

#include <algorithm>

#include "support/hash.h"
#include "support/heap.h"

namespace treadle {

Result<VocabRef> Vocab::build(std::span<const TokenSpec> specs, const VocabOptions& options) {
  constexpr uint64_t kMaxNodes = 0xFFFFFF;  // a subtree size has 24 bits
  uint64_t width = options.size == 0 ? specs.size() : options.size;
  if (width == 0) return invalid_request("vocab", "it has no tokens; give at least one");
  if (width >= kMaxTokens) {
    return limit_exceeded("vocab_size", static_cast<double>(width), kMaxTokens);
  }
  auto vocab = std::shared_ptr<Vocab>(new Vocab());
  vocab->offsets_.push_back(0);
  for (uint32_t id = 0; id < width; ++id) {
    TokenSpec spec =
        id < specs.size() ? specs[id] : TokenSpec{.bytes = {}, .kind = TokenKind::unused};
    bool is_text = spec.kind == TokenKind::text || spec.kind == TokenKind::byte;
    if (is_text && spec.bytes.empty()) spec.kind = TokenKind::unused;
    vocab->text_.append(spec.bytes);
    vocab->kinds_.push_back(spec.kind);
    if (vocab->text_.size() > UINT32_MAX) {
      return limit_exceeded("vocab_bytes", static_cast<double>(vocab->text_.size()), UINT32_MAX);
    }
    vocab->offsets_.push_back(static_cast<uint32_t>(vocab->text_.size()));
  }
  for (TokenId id : options.stop_ids) {
    if (id >= width) {
      return invalid_request("vocab.stop_ids", "stop token " + std::to_string(id) +
                                                   " is outside the vocabulary of " +
                                                   std::to_string(width));
    }
    vocab->stop_ids_.push_back(id);
    vocab->kinds_[id] = TokenKind::control;  // a token that ends the text is never part of it
  }
  std::sort(vocab->stop_ids_.begin(), vocab->stop_ids_.end());
  auto last = std::unique(vocab->stop_ids_.begin(), vocab->stop_ids_.end());
  vocab->stop_ids_.erase(last, vocab->stop_ids_.end());
  for (TokenId id = 0; id < vocab->size(); ++id) {
    const bool named = vocab->kinds_[id] == TokenKind::control && !vocab->bytes(id).empty();
    if (named) vocab->controls_.try_emplace(std::string(vocab->bytes(id)), id);
  }
  std::vector<TrieEntry> entries;
  uint64_t nodes = 0;
  for (TokenId id = 0; id < width; ++id) {
    if (!vocab->is_text(id)) continue;
    entries.push_back({vocab->bytes(id), id});
    vocab->longest_ = std::max(vocab->longest_, static_cast<uint32_t>(vocab->bytes(id).size()));
    nodes += std::min<uint64_t>(vocab->bytes(id).size(), kMaxTrieDepth);
  }
  if (nodes > kMaxNodes) {
    return limit_exceeded("vocab_bytes", static_cast<double>(nodes), kMaxNodes);
  }
  vocab->trie_.build(std::move(entries), vocab->size());
  vocab->trie_.index();
  vocab->compute_hash();
  vocab->slices_.prebuild(*vocab);
  give_back_heap();  // mostly what a tokenizer's JSON took just before
  return VocabRef(std::move(vocab));
}

bool Vocab::is_special(std::string_view text) const {
  const std::optional<TokenId> id = control(text);
  return id && !std::ranges::binary_search(stop_ids_, *id);
}

void Vocab::compute_hash() {
  uint64_t a = mix(1, size());
  uint64_t b = mix(2, size());
  for (TokenId id = 0; id < size(); ++id) {
    uint64_t h = hash_bytes(bytes(id), static_cast<uint64_t>(kinds_[id]) + 1);
    a = mix(a, h);
    b = mix(h, b);
  }
  for (TokenId id : stop_ids_) {
    a = mix(a, id);
    b = mix(id, b);
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (uint64_t half : {a, b}) {
    for (int shift = 60; shift >= 0; shift -= 4) hash_ += kDigits[half >> shift & 15];
  }
}

}  // namespace treadle
