// How a value can differ from a literal, and which failures need a count over items or keys.
#include <algorithm>

#include "grammar/front/schema_branch.h"

namespace treadle::schema {

// Another kind of value, another size, or a difference inside.
void apply_difference(Store& store, Branch& branch, json::Value literal) {
  if (!literal.is_array() && !literal.is_object()) {
    apply_other_values(store, branch.form, {literal});
    return;
  }
  const uint32_t node = literal.index();
  std::vector<Conj> choices{{Sub{node, As::reshaped}}, {Sub{node, As::longer}}};
  if (literal.is_array() && literal.size() > 0) choices.push_back({Sub{node, As::shorter}});
  for (const json::Value part : literal) {
    if (literal.is_object()) choices.push_back({Sub{part.index(), As::missing}});
    choices.push_back({Sub{part.index(), As::changed}});
  }
  branch.groups.push_back(std::move(choices));
}

void apply_shape(Form& form, Sub sub, json::Value literal) {
  const uint8_t type = literal.is_array() ? kArray : kObject;
  if (sub.as == As::reshaped) {
    form.types &= ~type;
    return;
  }
  form.types &= type;
  if (type == kObject) {
    form.somes.push_back(sub);
  } else if (sub.as == As::shorter) {
    form.max_items = std::min(form.max_items, literal.size() - 1);
  } else {
    form.min_items = std::max(form.min_items, literal.size() + 1);
  }
}

uint32_t prefix_size(const Source& source, json::Value argument) {
  const bool additional = keyword_of(argument.key()) == Keyword::additional_items;
  const json::Value prefix = argument.parent().get(additional ? "items" : "prefixItems");
  return prefix && prefix.is_array() && !source.ignored(prefix) ? prefix.size() : 0;
}

void apply_some(const Source& source, Form& form, json::Value argument) {
  const Keyword keyword = keyword_of(argument.key());
  const bool pattern = source.key_patterns.contains(argument.index());
  if (!pattern && (keyword == Keyword::items || keyword == Keyword::additional_items)) {
    form.types &= kArray;
    form.counts.push_back({Sub{argument.index(), As::refuted}, prefix_size(source, argument), 1});
  } else {
    form.types &= kObject;
    form.somes.push_back({argument.index(), As::some});
  }
}

bool contains_bounds(const Source& source, json::Value argument, uint32_t& min, uint32_t& max) {
  const auto bound = [&](std::string_view name, uint32_t without) {
    const json::Value value = argument.parent().get(name);
    return value && !source.ignored(value) ? count_of(value) : without;
  };
  min = bound("minContains", 1);
  max = bound("maxContains", kOpen);
  return min > 0 || max != kOpen;
}

void apply_item_failures(const Source& source, Form& form, Sub sub, json::Value argument) {
  uint32_t min = 0, max = kOpen;
  contains_bounds(source, argument, min, max);
  form.types &= kArray;
  const Sub item{argument.index(), As::schema};
  if (sub.as == As::fewer) {
    form.counts.push_back({item, 0, 0, min - 1});
  } else {
    form.counts.push_back({item, 0, max + 1, kOpen});
  }
}

}  // namespace treadle::schema
