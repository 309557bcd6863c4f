#include "grammar/front/schema_distinct.h"

#include <algorithm>
#include <utility>

#include "grammar/front/schema_check.h"
#include "grammar/front/schema_values.h"
#include "grammar/front/schema_words.h"
#include "grammar/front/styles.h"

namespace treadle::schema {
namespace {

// Whether the set has more than `count` (below 10^9) numbers. False, too, where that is not plain.
bool more_numbers(const NumberSet& set, uint32_t count) {
  if (!set.avoid.empty()) return false;
  if (set.lo && set.hi && compare(set.lo->value, set.hi->value) >= 0) return false;
  if (!set.lo || !set.hi || set.step.a == 0) return true;
  // lo + step * (count + 2) <= hi, by whole units where all three are whole and small.
  const auto whole = [](const Decimal& value) -> std::optional<int64_t> {
    if (!value.is_integer() || value.magnitude() > 15) return std::nullopt;
    const auto size = natural::small(scaled_down(value, 0));
    if (!size) return std::nullopt;
    return value.negative ? -static_cast<int64_t>(*size) : static_cast<int64_t>(*size);
  };
  const auto low = whole(set.lo->value), high = whole(set.hi->value);
  const auto step = whole(set.step.value());
  if (!low || !high || !step || *step > 1'000'000) return false;
  return (*high - *low) / *step > static_cast<int64_t>(count) + 2;
}

}  // namespace

bool some_value(const DistinctItem& item) {
  return item.names != 0 || item.texts != 0 || !item.numbers.empty();
}

Result<std::optional<DistinctItem>> distinct_item(Store& store, const SourceRef& source,
                                                  std::span<const Conj> alternatives, bool loose,
                                                  uint32_t most, Fuel& fuel) {
  const std::optional<DistinctItem> none;
  DistinctItem out;
  std::vector<NodeRef> texts;
  bool first_numbers = true;
  for (const Conj& conj : alternatives) {
    const auto forms = forms_of(store, *source, conj, loose, store.limits(), fuel);
    if (!forms) return forms.status();
    for (const Form& form : *forms) {
      if (form.types & (kArray | kObject)) return none;
      if (form.types & kNull) out.names |= kNameNull;
      if (form.types & kFalse) out.names |= kNameFalse;
      if (form.types & kTrue) out.names |= kNameTrue;
      if (form.types & kString) {
        if (!afford_text(store, form, fuel)) return fuel.status();
        texts.push_back(form_text(store, form));
      }
      if (!(form.types & kNumber)) continue;
      // Sets of two alternatives may overlap, and then a number would be taken out of one alone.
      if (!std::exchange(first_numbers, false)) return none;
      out.numbers = number_sets(form, source->options.numbers);
      out.shape = number_shape(store, form);
    }
  }
  out.texts = store.any_of(texts);
  if (!has_member(store, out.texts)) out.texts = store.empty();
  if (!store.ok()) return store.fault();
  if (!some_value(out)) return std::optional(out);
  const uint32_t needed =
      static_cast<uint32_t>(std::min<uint64_t>(most, store.limits().seen_values));
  bool many = out.shape == store.empty() &&
              std::any_of(out.numbers.begin(), out.numbers.end(),
                          [&](const NumberSet& set) { return more_numbers(set, needed); });
  many = many || (out.texts != store.empty() && source->barred == store.empty() &&
                  more_words(store, out.texts, needed, fuel));
  if (fuel.exhausted()) return fuel.status();
  if (!store.ok()) return store.fault();
  return many ? std::optional(std::move(out)) : none;
}

// Items are told apart by their place in a list of all values, or as they are written.
Status Checker::check_uniques() {
  for (const uint32_t node : uniques_) {
    const json::Value argument = source_->at(node);
    const Result<bool> parted = items_parted(argument.parent());
    if (!parted) return parted.status();
    if (*parted) continue;
    Status status = refuse(argument,
                           "`uniqueItems` can be enforced for strings and numbers, and for arrays "
                           "and objects of an enumeration, not for other values");
    if (!status.ok()) return status;
  }
  return ok_status();
}

Result<bool> Checker::items_parted(json::Value schema) {
  const auto keyword = [&](std::string_view name) {
    const json::Value argument = schema.get(name);
    return argument && source_->ignored(argument) ? json::Value() : argument;
  };
  json::Value prefix = keyword("prefixItems"), rest = keyword("items");
  if (!prefix && rest && rest.is_array()) {
    prefix = rest;
    rest = keyword("additionalItems");
  }
  std::vector<json::Value> items;
  if (prefix) items.assign(prefix.begin(), prefix.end());
  const json::Value most = keyword("maxItems");
  const bool more = !most || count_of(most) > items.size();
  if (more && !rest) return false;
  if (more) items.push_back(rest);
  size_t total = 0;
  bool listed = true;
  std::vector<Conj> conjs;
  for (const json::Value item : items) {
    conjs.push_back({Sub{item.index(), As::schema}});
    if (!listed) continue;
    const auto values = values_of(store_, source_, conjs.back(), Place{}, false, fuel_);
    if (!values) return values.status();
    listed = values->has_value();
    if (listed) total += (*values)->size();
  }
  if (listed) return total <= kListedValues;
  const Style* style = source_->options.style;
  if (keyword("contains") || (style && style->nesting == Nesting::declared)) return false;
  for (const Conj& conj : conjs) {
    const uint32_t count = most ? count_of(most) : kOpen;
    const auto item = distinct_item(store_, source_, std::span(&conj, 1), false, count, fuel_);
    if (!item) return item.status();
    if (!*item) return false;
  }
  return true;
}

}  // namespace treadle::schema
