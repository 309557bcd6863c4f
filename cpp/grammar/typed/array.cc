#include "grammar/typed/array.h"

#include <algorithm>
#include <utility>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "support/hash.h"

namespace treadle {
namespace {

class Items final : public Typed {
 public:
  Items(ArrayFormRef form, uint32_t index)
      : Typed(TypedTag::items, false, index >= form->min && form->min <= form->max),
        form_(std::move(form)),
        index_(index) {}

  uint64_t hash() const override {
    return mix(mix(static_cast<uint64_t>(tag), index_), form_->hash);
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const Items&>(other);
    return index_ == that.index_ && (form_ == that.form_ || *form_ == *that.form_);
  }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override;
  Result<NodeRef> witness(Store& store, Fuel& fuel) const override;
  NodeRef clamped(Store& store, uint32_t units) const override;

 private:
  ArrayFormRef form_;
  uint32_t index_;  // items read so far
};

Result<NodeRef> Items::expand(Store& store, Fuel& fuel) const {
  NodeRef more = store.empty();
  if (index_ < form_->max) {
    const NodeRef value = form_->item(index_);
    const Result<bool> live = store.live(value, fuel);
    if (!live) return live.status();
    if (*live) {
      uint32_t next = index_ + 1;
      // Beyond the prefix and the minimum, only a maximum still counts.
      const auto settled = std::max(static_cast<uint32_t>(form_->prefix.size()), form_->min);
      if (form_->max == kOpen) next = std::min(next, std::max(settled, 1u));
      more = store.cat(value, store.typed(std::make_unique<Items>(form_, next)));
    }
  }
  const NodeRef close = index_ >= form_->min ? store.bytes("]") : store.empty();
  return end_or_item(store, form_->spacing, index_ == 0, close, more);
}

// Behind the prefix only the numbers of items that must and may follow count.
NodeRef Items::clamped(Store& store, uint32_t units) const {
  if (index_ == 0 || index_ < form_->prefix.size()) return store.empty();
  ArrayForm rest = *form_;
  rest.prefix.clear();
  const uint32_t must = form_->min > index_ ? form_->min - index_ : 0;
  rest.min = 1 + std::min(must, units + 1);
  if (form_->max != kOpen) {
    const uint32_t may = form_->max - std::min(index_, form_->max);
    rest.max = may > units ? kOpen : 1 + may;
  }
  rest.seal();
  return store.typed(std::make_unique<Items>(std::make_shared<const ArrayForm>(rest), 1));
}

// Items up to the minimum must have values; from there on the array may close.
Result<NodeRef> Items::witness(Store& store, Fuel& fuel) const {
  if (form_->min > form_->max) return store.empty();
  std::vector<NodeRef> parts;
  const auto size = static_cast<uint32_t>(form_->prefix.size());
  if (!fuel.spend(size)) return fuel.status();
  for (uint32_t i = index_; i < std::min(size, form_->min); ++i) parts.push_back(form_->prefix[i]);
  if (form_->min > size && form_->min > index_) parts.push_back(form_->rest);
  return store.concat(parts);
}

}  // namespace

void ArrayForm::seal() {
  hash = mix(static_cast<uint64_t>(min) << 32 | max, rest);
  hash = mix(hash, spacing.comma);
  for (const NodeRef value : prefix) hash = mix(hash, value);
}

NodeRef array_node(Store& store, ArrayFormRef form) {
  return store.cat(store.bytes("["), store.typed(std::make_unique<Items>(std::move(form), 0)));
}

}  // namespace treadle
