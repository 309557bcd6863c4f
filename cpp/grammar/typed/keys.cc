// Named keys as a trie over code points, walked lazily: a state that holds the key's opening quote
// costs the first letters, not the number of keys.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/members.h"
#include "grammar/typed/str.h"
#include "support/hash.h"

namespace treadle {
namespace {

class Keys final : public Typed {
 public:
  Keys(ObjectFormRef form, ObjectState state, Offer offer, uint32_t low, uint32_t high,
       uint32_t depth)
      : Typed(TypedTag::keys, false, true),
        form_(std::move(form)),
        state_(std::move(state)),
        offer_(std::move(offer)),
        low_(low),
        high_(high),
        depth_(depth) {}

  uint64_t hash() const override {
    uint64_t h = mix(mix(static_cast<uint64_t>(tag), form_->hash), state_.hash());
    return mix(h, (static_cast<uint64_t>(low_) << 32 | high_) ^ static_cast<uint64_t>(depth_)
                                                                    << 20);
  }
  bool equals(const Typed& other) const override {
    // The offer follows from form and state.
    const auto& that = static_cast<const Keys&>(other);
    return low_ == that.low_ && high_ == that.high_ && depth_ == that.depth_ &&
           state_ == that.state_ && (form_ == that.form_ || *form_ == *that.form_);
  }
  uint64_t bytes() const override { return sizeof(Keys) + state_.seen.bytes(); }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override {
    if (!fuel.spend(high_ - low_)) return fuel.status();
    return key_choices(store, form_, state_, offer_, low_, high_, depth_);
  }
  // Only keys that leave the object completable are offered.

 private:
  ObjectFormRef form_;
  ObjectState state_;
  Offer offer_;
  uint32_t low_, high_, depth_;
};

// Up to where two names agree, in whole characters.
uint32_t shared(std::string_view a, std::string_view b, uint32_t from) {
  size_t at = from;
  for (uint32_t code = 0; at < std::min(a.size(), b.size());) {
    const size_t width = read_utf8(a, at, code);
    if (a.substr(at, width) != b.substr(at, width)) break;
    at += width;
  }
  return static_cast<uint32_t>(at);
}

}  // namespace

NodeRef key_choices(Store& store, const ObjectFormRef& form, const ObjectState& state,
                    const Offer& offer, uint32_t low, uint32_t high, uint32_t depth) {
  std::vector<NodeRef> out;
  const auto name = [&](uint32_t i) { return std::string_view(form->keys[(*offer)[i].key].name); };
  while (low < high) {
    if (name(low).size() == depth) {
      out.push_back(after_offered(store, form, state, (*offer)[low]));
      ++low;
      continue;
    }
    uint32_t code = 0;
    const std::string_view letter = name(low).substr(depth, read_utf8(name(low), depth, code));
    uint32_t end = low + 1;
    while (end < high && name(end).substr(depth, letter.size()) == letter) ++end;
    if (end == low + 1) {
      const NodeRef rest =
          string_content(store, store.bytes(name(low).substr(depth)), form->escapes);
      out.push_back(store.cat(rest, after_offered(store, form, state, (*offer)[low])));
    } else {
      const uint32_t past = shared(name(low), name(end - 1), depth);
      const NodeRef text = store.bytes(name(low).substr(depth, past - depth));
      const NodeRef deeper =
          store.typed(std::make_unique<Keys>(form, state, offer, low, end, past));
      out.push_back(store.cat(string_content(store, text, form->escapes), deeper));
    }
    low = end;
  }
  return store.any_of(out);
}

}  // namespace treadle
