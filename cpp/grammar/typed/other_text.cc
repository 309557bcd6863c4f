#include "grammar/typed/other_text.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "support/hash.h"

namespace treadle {
namespace {

// Sorted, once each.
using Words = std::vector<std::string>;

// What may follow the first `depth` bytes of the words [low, high), which agree in them. Only what
// is left of the words says who is equal: the ends of "userName" and "groupName" are one node.
class OtherText final : public Typed {
 public:
  OtherText(std::shared_ptr<const Words> words, uint32_t low, uint32_t high, uint32_t depth,
            NodeRef any)
      : Typed(TypedTag::other_text, true),
        words_(std::move(words)),
        low_(low),
        high_(high),
        depth_(depth),
        any_(any),
        hash_(mix(mix(static_cast<uint64_t>(TypedTag::other_text), high - low), any)) {
    for (uint32_t i = low_; i < high_; ++i) hash_ = hash_bytes(left(i), hash_);
  }

  uint64_t hash() const override { return hash_; }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const OtherText&>(other);
    if (any_ != that.any_ || high_ - low_ != that.high_ - that.low_) return false;
    for (uint32_t i = 0; i < high_ - low_; ++i) {
      if (left(low_ + i) != that.left(that.low_ + i)) return false;
    }
    return true;
  }
  uint64_t bytes() const override { return sizeof(OtherText) + (depth_ == 0 ? held() : 0); }
  Digest digest(Store& store) const override {
    const Digest any = store.digest(any_);
    if (!any.known()) return any;
    Digest out = Digest::of(static_cast<uint64_t>(tag)).add(any);
    for (uint32_t i = low_; i < high_; ++i) out.add(left(i));
    return out;
  }
  bool nullable(Store& store) const override {
    return store.nullable(any_) && (*words_)[low_].size() > depth_;
  }
  ByteSet first(Store& store) const override { return store.first(any_); }
  ByteSet same(Store& store, uint8_t byte) const override {
    const ByteSet words = going_on();
    return words.contains(byte) ? ByteSet::of(byte) : store.same(any_, byte) & ~words;
  }
  Beside beside(Store&) const override { return {any_, going_on()}; }
  NodeRef derive(Store& store, uint8_t byte) const override {
    const NodeRef any = store.derive(any_, byte);
    auto before = [&](const std::string& word, uint8_t value) {
      return word.size() <= depth_ || static_cast<uint8_t>(word[depth_]) < value;
    };
    auto from = words_->begin() + low_;
    auto to = words_->begin() + high_;
    auto low = std::lower_bound(from, to, byte, before);
    auto high = byte == 0xFF ? to : std::lower_bound(low, to, uint8_t(byte + 1), before);
    if (low == high || any == store.empty()) return any;
    return store.typed(std::make_unique<OtherText>(
        words_, static_cast<uint32_t>(low - words_->begin()),
        static_cast<uint32_t>(high - words_->begin()), depth_ + 1, any));
  }

  std::vector<std::string_view> words() const {
    std::vector<std::string_view> out;
    for (uint32_t i = low_; i < high_; ++i) out.push_back(left(i));
    return out;
  }

 private:
  // The bytes that some word goes on with.
  ByteSet going_on() const {
    ByteSet out;
    for (uint32_t i = low_; i < high_; i = end_of(i)) {
      if ((*words_)[i].size() > depth_) out.insert(byte_of(i));
    }
    return out;
  }
  std::string_view left(uint32_t word) const {
    return std::string_view((*words_)[word]).substr(depth_);
  }
  uint8_t byte_of(uint32_t word) const { return static_cast<uint8_t>((*words_)[word][depth_]); }
  // The first word behind `word` that does not share its next byte.
  uint32_t end_of(uint32_t word) const {
    if ((*words_)[word].size() <= depth_) return word + 1;
    uint32_t end = word + 1;
    while (end < high_ && byte_of(end) == byte_of(word)) ++end;
    return end;
  }
  uint64_t held() const {
    uint64_t total = 0;
    for (const std::string& word : *words_) total += sizeof(std::string) + word.size();
    return total;
  }

  std::shared_ptr<const Words> words_;
  uint32_t low_, high_, depth_;
  NodeRef any_;  // any text behind those bytes, which may end inside a character
  uint64_t hash_;
};

}  // namespace

NodeRef other_text(Store& store, std::span<const std::string_view> words) {
  if (words.empty()) return store.any_text();
  auto kept = std::make_shared<Words>(words.begin(), words.end());
  std::sort(kept->begin(), kept->end());
  kept->erase(std::unique(kept->begin(), kept->end()), kept->end());
  const auto count = static_cast<uint32_t>(kept->size());
  return store.typed(std::make_unique<OtherText>(std::move(kept), 0, count, 0, store.any_text()));
}

std::vector<std::string_view> words_left_out(const Store& store, NodeRef node) {
  if (store.node(node).kind != Kind::leaf) return {};
  const Typed& typed = store.typed_of(node);
  if (typed.tag != TypedTag::other_text) return {};
  return static_cast<const OtherText&>(typed).words();
}

}  // namespace treadle
