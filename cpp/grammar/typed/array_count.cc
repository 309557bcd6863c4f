// Arrays that count items of some kind: `contains`, and the failure of `items`.
#include <algorithm>
#include <memory>
#include <utility>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/array.h"
#include "support/hash.h"

namespace treadle {
namespace {

constexpr uint64_t kItemCost = 32;  // fuel for one choice, in units of about 30 ns

struct Progress {
  uint32_t index = 0;  // items read, up to where it no longer matters
  std::vector<uint32_t> counts;
  std::vector<uint64_t> seen;  // values taken
  bool operator==(const Progress&) const = default;
};

// Whether the array may end here.
bool complete(const CountedForm& form, const Progress& at) {
  if (at.index < form.min) return false;
  for (size_t i = 0; i < at.counts.size(); ++i) {
    if (at.counts[i] < form.counters[i].min) return false;
  }
  return true;
}

// The rest of the array after some items.
NodeRef items_after(Store& store, const CountedFormRef& form, Progress at, bool first);

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
    for (const uint64_t word : at_.seen) h = mix(h, word);
    h = mix(h, static_cast<uint64_t>(form_->spacing.comma) << 1 | (form_->bare ? 1 : 0));
    for (const ItemChoice& choice : form_->regions.back()) h = mix(h, choice.value);
    return h;
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const CountedItems&>(other);
    return first_ == that.first_ && at_ == that.at_ &&
           (form_ == that.form_ || *form_ == *that.form_);
  }
  uint64_t bytes() const override {
    return sizeof(CountedItems) + at_.counts.size() * 4 + at_.seen.size() * 8;
  }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override {
    const Result<NodeRef> more = items(store, fuel);
    if (!more) return more;
    if (form_->bare) return store.cat(form_->spacing.any, *more);
    const NodeRef close = complete(*form_, at_) ? store.bytes("]") : store.empty();
    return end_or_item(store, form_->spacing, first_, close, *more);
  }
  // Reaching the end is a path through the states, so liveness walks them.
  Result<NodeRef> witness(Store& store, Fuel& fuel) const override {
    const bool over = complete(*form_, at_);
    // Without brackets the end stands beside the rule, which then needs an item.
    if (over) return form_->bare ? items(store, fuel) : Result<NodeRef>(store.eps());
    if (form_->counters.empty() && form_->values > 0) return assign(store, fuel);
    return items(store, fuel);
  }

 private:
  // One more item, read in each way, then the rest.
  Result<NodeRef> items(Store& store, Fuel& fuel) const {
    if (at_.index >= form_->max) return store.empty();
    std::vector<NodeRef> out;
    for (const ItemChoice& choice : region(at_.index)) {
      if (!fuel.spend(kItemCost)) return fuel.status();
      Progress next = at_;
      if (!count(choice.hits, next)) continue;
      if (choice.once != kOpen) {
        if (taken(at_, choice.once)) continue;
        next.seen[choice.once >> 6] |= uint64_t{1} << (choice.once & 63);
      }
      const NodeRef rest = items_after(store, form_, std::move(next), false);
      out.push_back(store.cat(choice.value, rest));
    }
    return store.any_of(out);
  }

  // Whether the items up to the minimum can take different values: each finds one, or makes an
  // earlier item move on (Kuhn's matching).
  Result<NodeRef> assign(Store& store, Fuel& fuel) const {
    if (form_->min - at_.index > form_->values) return store.empty();
    std::vector<uint32_t> owner(form_->values, kOpen);
    for (uint32_t item = at_.index; item < form_->min; ++item) {
      std::vector<bool> tried(form_->values, false);
      const Result<bool> found = place(store, fuel, item, owner, tried);
      if (!found) return found.status();
      if (!*found) return store.empty();
    }
    return store.eps();
  }

  // A path of moves, by breadth first search: at most `values` (256) long.
  Result<bool> place(Store& store, Fuel& fuel, uint32_t start, std::vector<uint32_t>& owner,
                     std::vector<bool>& tried) const {
    struct Move {
      uint32_t item, value;
      size_t before;
    };
    std::vector<Move> moves;
    std::vector<std::pair<uint32_t, size_t>> open{{start, SIZE_MAX}};
    for (size_t i = 0; i < open.size(); ++i) {
      const auto [item, before] = open[i];
      for (const ItemChoice& choice : region(item)) {
        if (!fuel.spend(1)) return fuel.status();
        if (tried[choice.once] || taken(at_, choice.once)) continue;
        const Result<bool> live = store.live(choice.value, fuel);
        if (!live) return live.status();
        if (!*live) continue;
        tried[choice.once] = true;
        moves.push_back({item, choice.once, before});
        if (owner[choice.once] != kOpen) {
          open.emplace_back(owner[choice.once], moves.size() - 1);
          continue;
        }
        for (size_t at = moves.size() - 1; at != SIZE_MAX; at = moves[at].before) {
          owner[moves[at].value] = moves[at].item;
        }
        return true;
      }
    }
    return false;
  }

  const std::vector<ItemChoice>& region(uint32_t index) const {
    return form_->regions[std::min<size_t>(index, form_->regions.size() - 1)];
  }

  static bool taken(const Progress& at, uint32_t value) {
    return at.seen[value >> 6] >> (value & 63) & 1;
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

NodeRef items_after(Store& store, const CountedFormRef& form, Progress at, bool first) {
  const bool over = form->bare && complete(*form, at);
  const NodeRef more = store.typed(std::make_unique<CountedItems>(form, std::move(at), first));
  return over ? store.alt(form->spacing.any, more) : more;
}

}  // namespace

NodeRef counted_array_node(Store& store, CountedFormRef form) {
  Progress start{0, std::vector<uint32_t>(form->counters.size(), 0),
                 std::vector<uint64_t>((form->values + 63) / 64, 0)};
  const NodeRef items = items_after(store, form, std::move(start), true);
  return form->bare ? items : store.cat(store.bytes("["), items);
}

}  // namespace treadle
