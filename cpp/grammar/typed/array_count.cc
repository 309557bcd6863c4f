// Arrays that count items of some kind: `contains`, and the failure of `items`.
#include <utility>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/array.h"
#include "grammar/typed/members.h"
#include "support/hash.h"

namespace treadle {
namespace {

struct Progress {
  uint32_t index = 0;  // items read, up to where it no longer matters
  std::vector<uint32_t> counts;
  bool operator==(const Progress&) const = default;
};

class CountedItems final : public Typed {
 public:
  CountedItems(CountedFormRef form, Progress at, bool first)
      : Typed(TypedTag::items_counted, false),
        form_(std::move(form)),
        at_(std::move(at)),
        first_(first) {}

  uint64_t hash() const override {
    uint64_t h = mix(static_cast<uint64_t>(tag), static_cast<uint64_t>(at_.index) << 1 | first_);
    h = mix(h, static_cast<uint64_t>(form_->min) << 32 | form_->max);
    for (const uint32_t count : at_.counts) h = mix(h, count);
    for (const ItemChoice& choice : form_->regions.back()) h = mix(h, choice.value);
    return h;
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const CountedItems&>(other);
    return first_ == that.first_ && at_ == that.at_ &&
           (form_ == that.form_ || *form_ == *that.form_);
  }
  uint64_t bytes() const override { return sizeof(CountedItems) + at_.counts.size() * 4; }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override {
    const NodeRef space = json_space(store, form_->whitespace);
    const Result<NodeRef> more = items(store, fuel);
    if (!more) return more;
    const NodeRef comma = first_ ? store.eps() : store.cat(store.bytes(","), space);
    const NodeRef close = closable() ? store.bytes("]") : store.empty();
    return store.cat(space, store.alt(close, store.cat(comma, *more)));
  }
  // Reaching the end is a path through the states, so liveness walks them.
  Result<NodeRef> witness(Store& store, Fuel& fuel) const override {
    return closable() ? store.eps() : items(store, fuel);
  }

 private:
  bool closable() const {
    if (at_.index < form_->min) return false;
    for (size_t i = 0; i < at_.counts.size(); ++i) {
      if (at_.counts[i] < form_->counters[i].min) return false;
    }
    return true;
  }

  // One more item, read in each way, then the rest.
  Result<NodeRef> items(Store& store, Fuel& fuel) const {
    if (at_.index >= form_->max) return store.empty();
    std::vector<NodeRef> out;
    const size_t region = std::min<size_t>(at_.index, form_->regions.size() - 1);
    for (const ItemChoice& choice : form_->regions[region]) {
      if (!fuel.spend(4)) return fuel.status();
      Progress next = at_;
      if (!count(choice.hits, next)) continue;
      const NodeRef rest = store.typed(std::make_unique<CountedItems>(form_, next, false));
      out.push_back(store.cat(choice.value, rest));
    }
    return store.any_of(out);
  }

  // The state after an item with these hits; false if it is not allowed, or says no more than the
  // same item without a hit.
  bool count(uint32_t hits, Progress& next) const {
    for (size_t i = 0; i < next.counts.size(); ++i) {
      if (!(hits >> i & 1)) continue;
      const ItemCounter& counter = form_->counters[i];
      if (next.counts[i] >= (counter.max == kOpen ? counter.min : counter.max)) return false;
      ++next.counts[i];
    }
    ++next.index;
    const auto settled = std::max(static_cast<uint32_t>(form_->regions.size() - 1), form_->min);
    if (form_->max == kOpen) next.index = std::min(next.index, settled);
    return true;
  }

  CountedFormRef form_;
  Progress at_;
  bool first_;
};

}  // namespace

NodeRef counted_array_node(Store& store, CountedFormRef form) {
  Progress start{0, std::vector<uint32_t>(form->counters.size(), 0)};
  return store.cat(store.bytes("["), store.typed(std::make_unique<CountedItems>(
                                         std::move(form), std::move(start), true)));
}

}  // namespace treadle
