#include "grammar/typed/bare_items.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "support/hash.h"

namespace treadle {
namespace {

NodeRef items_from(Store& store, const ArrayFormRef& form, uint32_t index);

// One more item and the rest of the list.
class BareItems final : public Typed {
 public:
  BareItems(ArrayFormRef form, uint32_t index)
      : Typed(TypedTag::bare_items, false), form_(std::move(form)), index_(index) {}

  uint64_t hash() const override {
    return mix(mix(static_cast<uint64_t>(tag), index_), form_->hash);
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const BareItems&>(other);
    return index_ == that.index_ && (form_ == that.form_ || *form_ == *that.form_);
  }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override {
    if (index_ >= form_->max) return store.empty();
    const NodeRef value = form_->item(index_);
    const Result<bool> live = store.live(value, fuel);
    if (!live) return live.status();
    if (!*live) return store.empty();
    uint32_t next = index_ + 1;
    // Beyond the prefix and the minimum, only a maximum still counts.
    const auto settled = std::max(static_cast<uint32_t>(form_->prefix.size()), form_->min);
    if (form_->max == kOpen) next = std::min(next, std::max(settled, 1u));
    const NodeRef parts[] = {form_->spacing.any, value, items_from(store, form_, next)};
    return store.concat(parts);
  }
  Result<NodeRef> witness(Store& store, Fuel& fuel) const override {
    if (index_ >= form_->max || form_->min > form_->max) return store.empty();
    std::vector<NodeRef> parts;
    const auto size = static_cast<uint32_t>(form_->prefix.size());
    if (!fuel.spend(1 + size)) return fuel.status();
    const uint32_t needed = std::max(form_->min, index_ + 1);
    for (uint32_t i = index_; i < std::min(size, needed); ++i) parts.push_back(form_->prefix[i]);
    if (needed > size) parts.push_back(form_->rest);
    return store.concat(parts);
  }

 private:
  ArrayFormRef form_;
  uint32_t index_;  // items read so far
};

NodeRef items_from(Store& store, const ArrayFormRef& form, uint32_t index) {
  const NodeRef more = store.typed(std::make_unique<BareItems>(form, index));
  return index < form->min ? more : store.alt(form->spacing.any, more);
}

}  // namespace

NodeRef bare_items(Store& store, ArrayFormRef form) {
  return items_from(store, form, 0);
}

}  // namespace treadle
