#include "grammar/front/schema_array.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "grammar/front/schema_distinct.h"
#include "grammar/front/schema_values.h"
#include "grammar/typed/array.h"
#include "grammar/typed/bare_items.h"

namespace treadle::schema {
namespace {

constexpr double kStates = 100'000;
constexpr double kStateCost = 100;  // fuel for one of them
constexpr size_t kCounters = 6;     // their combinations are all alternatives of an item

// The schemas by index of one part of an array's constraints, and the one for all later items.
struct Tuple {
  uint32_t first = 0;  // index of items[0]
  std::vector<Sub> items;
  std::optional<Sub> rest;
};

Tuple tuple_of(const Source& source, Sub part) {
  Tuple out;
  const json::Value node = source.at(part.node);
  const auto list = [&](json::Value items, As as) {
    for (const json::Value item : items) out.items.push_back(Sub{item.index(), as});
  };
  if (part.as == As::refuted || part.as == As::differs) {
    out.first = item_index(node);
    out.items.push_back(part);
    return out;
  }
  if (part.as == As::literal) {
    list(node, As::literal);
    return out;
  }
  const auto keyword = [&](std::string_view name) {
    const json::Value argument = node.get(name);
    return argument && source.ignored(argument) ? json::Value() : argument;
  };
  const json::Value prefix = keyword("prefixItems"), items = keyword("items");
  json::Value rest = items;
  if (prefix) {
    list(prefix, As::schema);
  } else if (items && items.is_array()) {
    list(items, As::schema);
    rest = keyword("additionalItems");
  }
  if (rest && !rest.is_array()) out.rest = Sub{rest.index(), As::schema};
  return out;
}

Sub opposite(Sub sub) {
  return {sub.node, sub.as == As::schema ? As::refuted : As::schema};
}

class ArrayBuilder {
 public:
  ArrayBuilder(Store& store, const SourceRef& source, const Form& form, Place place, bool loose,
               Fuel& fuel)
      : store_(store), source_(source), form_(form), place_(place), loose_(loose), fuel_(fuel) {}

  Result<NodeRef> run() {
    for (const Sub part : form_.arrays) {
      tuples_.push_back(tuple_of(*source_, part));
      length_ = std::max(length_, tuples_.back().first + tuples_.back().items.size());
    }
    find_others();
    for (const ItemCount& count : form_.counts) length_ = std::max<size_t>(length_, count.from);
    most_ = form_.max_items;
    if (closed()) most_ = static_cast<uint32_t>(std::min<size_t>(most_, length_));
    length_ = std::min<size_t>(length_, most_);
    const bool unique = form_.unique_items && form_.max_items > 1;
    return form_.counts.empty() && !unique ? plain() : counted(unique);
  }

 private:
  // Whether items that nothing mentions are forbidden.
  bool closed() const {
    if (!source_->options.closed || loose_ || !form_.other_items.empty()) return false;
    bool mentions = false;
    for (size_t i = 0; i < tuples_.size(); ++i) {
      if (form_.arrays[i].as != As::schema) continue;
      if (tuples_[i].rest) return false;
      mentions |= !tuples_[i].items.empty();
    }
    return mentions;
  }

  Conj conj_at(size_t index) const {
    Conj out;
    for (const Tuple& tuple : tuples_) {
      if (index < tuple.first) continue;
      if (index - tuple.first < tuple.items.size()) {
        add_sub(out, tuple.items[index - tuple.first]);
      } else if (tuple.rest) {
        add_sub(out, *tuple.rest);
      }
    }
    return out;
  }

  // `unevaluatedItems` holds for an item, or a `contains` of its scope has evaluated it.
  struct Others {
    uint32_t from = 0;
    Conj ways;
  };

  void find_others() {
    for (const Unevaluated& part : form_.other_items) {
      Others others{0, {Sub{part.argument, As::schema}}};
      for (const uint32_t node : part.scope) {
        const Tuple tuple = tuple_of(*source_, Sub{node, As::schema});
        others.from = std::max(others.from, static_cast<uint32_t>(tuple.items.size()));
        const json::Value contains = source_->at(node).get("contains");
        if (contains && !source_->ignored(contains) && source_->dialect != Dialect::draft2019) {
          others.ways.push_back(Sub{contains.index(), As::schema});
        }
      }
      length_ = std::max<size_t>(length_, others.from);
      others_.push_back(std::move(others));
    }
  }

  // The conjunction for an item at `index`, with each way in which `unevaluatedItems` is met.
  std::vector<Conj> ways(Conj conj, size_t index) {
    std::vector<Conj> open{std::move(conj)};
    for (const Others& others : others_) {
      if (index < others.from) continue;
      std::vector<Conj> next;
      for (const Conj& one : open) {
        for (const Sub way : others.ways) {
          next.push_back(one);
          add_sub(next.back(), way);
        }
      }
      if (!fuel_.spend(next.size() * 8)) return {};
      open = std::move(next);
    }
    return open;
  }

  NodeRef value(Conj conj, size_t index) {
    std::vector<NodeRef> out;
    for (Conj& one : ways(std::move(conj), index))
      out.push_back(
          source_->value(store_, source_, std::move(one), loose_, source_->inside(place_)));
    return store_.any_of(out);
  }

  Result<NodeRef> plain() {
    auto out = std::make_shared<ArrayForm>();
    out->min = form_.min_items;
    out->max = most_;
    out->spacing = source_->spacing(store_, place_);
    for (size_t i = 0; i < length_; ++i) {
      if (!fuel_.spend(1 + tuples_.size())) return fuel_.status();
      out->prefix.push_back(value(conj_at(i), i));
    }
    out->rest = value(conj_at(length_), length_);
    if (fuel_.exhausted()) return fuel_.status();
    out->seal();
    if (place_.role != Role::json) return bare_items(store_, std::move(out));
    return array_node(store_, std::move(out));
  }

  Result<NodeRef> counted(bool unique) {
    if (form_.counts.size() > kCounters) {
      return limit_exceeded(
          "branches", static_cast<double>(uint64_t{1} << std::min<size_t>(form_.counts.size(), 63)),
          1u << kCounters, source_->pointer(source_->at(form_.counts[0].item.node)));
    }
    // Liveness walks the states before the array may close; what cannot be walked ends here.
    double states = 1.0 + form_.min_items;
    for (const ItemCount& count : form_.counts) states *= 1.0 + count.min;
    if (!unique && states > kStates) {
      return limit_exceeded("compile_fuel", states * kStateCost, kStates * kStateCost,
                            source_->pointer(source_->at(form_.counts[0].item.node)));
    }
    auto out = std::make_shared<CountedForm>();
    out->min = form_.min_items;
    out->max = most_;
    out->spacing = source_->spacing(store_, place_);
    out->bare = place_.role != Role::json;
    for (const ItemCount& count : form_.counts) out->counters.push_back({count.min, count.max});
    for (size_t i = 0; i <= length_; ++i) {
      if (!fuel_.spend((size_t{16} + tuples_.size()) << form_.counts.size())) return fuel_.status();
      out->regions.push_back(choices(i));
      if (!unique) continue;
      const Result<bool> parted = part_values(out->regions.back(), i);
      if (!parted) return parted.status();
      if (!*parted) return distinct();
    }
    out->values = static_cast<uint32_t>(ids_.size());
    if (fuel_.exhausted()) return fuel_.status();
    return counted_array_node(store_, std::move(out));
  }

  std::vector<ItemChoice> choices(size_t index) {
    std::vector<ItemChoice> out;
    const Conj base = conj_at(index);
    for (uint32_t hits = 0; hits >> form_.counts.size() == 0; ++hits) {
      Conj conj = base;
      bool here = true;
      for (size_t j = 0; j < form_.counts.size(); ++j) {
        const ItemCount& count = form_.counts[j];
        const bool hit = hits >> j & 1;
        if (index < count.from) {
          here &= !hit;
        } else if (hit) {
          add_sub(conj, count.item);
        } else if (count.max != kOpen) {
          add_sub(conj, opposite(count.item));
        }
      }
      if (here) {
        out.push_back({hits, value(conj, index)});
        conjs_[out.back().value] = std::move(conj);
      }
    }
    return out;
  }

  // Items that are too many to list are told apart as they are written.
  Result<NodeRef> distinct() {
    const std::string at =
        source_->pointer(source_->at(form_.arrays.empty() ? 0 : form_.arrays[0].node));
    const Status refused = unsupported(
        at, "the items that all schemas for this array leave cannot be told apart", "uniqueItems");
    if (!form_.counts.empty() || place_.role != Role::json) return refused;
    auto out = std::make_shared<DistinctForm>();
    for (size_t i = 0; i <= length_; ++i) {
      const std::vector<Conj> all = ways(conj_at(i), i);
      const auto item = distinct_item(store_, source_, all, loose_, most_, fuel_);
      if (!item) return item.status();
      if (!*item) return refused;
      if (!some_value(**item)) most_ = std::min<uint32_t>(most_, static_cast<uint32_t>(i));
      out->items.push_back(**item);
    }
    out->escapes = source_->options.escapes;
    out->barred = source_->spelling(loose_);
    out->min = form_.min_items;
    out->max = most_;
    out->spacing = source_->spacing(store_, place_);
    return distinct_array_node(store_, std::move(out));
  }

  // Each choice as one for every value, so that none is taken twice. False when they are too many.
  Result<bool> part_values(std::vector<ItemChoice>& region, size_t index) {
    std::vector<ItemChoice> out;
    for (const ItemChoice& choice : region) {
      for (const Conj& conj : ways(conjs_[choice.value], index)) {
        const auto values =
            values_of(store_, source_, conj, source_->inside(place_), loose_, fuel_);
        if (!values) return values.status();
        if (!*values) return false;
        for (const Listed& value : **values) {
          const auto id = static_cast<uint32_t>(ids_.size());
          const uint32_t known = ids_.try_emplace(value.key, id).first->second;
          out.push_back({choice.hits, value.node, known});
        }
      }
    }
    region = std::move(out);
    return true;
  }

  Store& store_;
  const SourceRef& source_;
  const Form& form_;
  Place place_;
  bool loose_;
  Fuel& fuel_;
  std::vector<Tuple> tuples_;
  std::vector<Others> others_;
  std::unordered_map<NodeRef, Conj> conjs_;  // of the choices' values
  std::map<std::string, uint32_t> ids_;      // listed value -> its number
  size_t length_ = 0;
  uint32_t most_ = kOpen;  // items
};

}  // namespace

Result<NodeRef> array_of(Store& store, const SourceRef& source, const Form& form, Place place,
                         bool loose, Fuel& fuel) {
  return ArrayBuilder(store, source, form, place, loose, fuel).run();
}

}  // namespace treadle::schema
