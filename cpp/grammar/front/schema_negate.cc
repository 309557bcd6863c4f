// Negation, pushed inward: a schema fails where one of its keywords fails, and a failing keyword
// about one type fixes that type. What has no dual here is refused by schema_check.
#include <algorithm>
#include <utility>

#include "grammar/front/schema_branch.h"

namespace treadle::schema {
namespace {

// None of the alternatives holds, or two do.
void add_one_of_failures(std::vector<Conj>& choices, json::Value list) {
  Conj none;
  for (const json::Value choice : list) add_sub(none, Sub{choice.index(), As::refuted});
  choices.push_back(std::move(none));
  for (const json::Value one : list) {
    for (json::Value two = one.next(); two; two = two.next()) {
      choices.push_back({Sub{one.index(), As::schema}, Sub{two.index(), As::schema}});
    }
  }
}

void add_condition_failures(const Source& source, std::vector<Conj>& choices, json::Value test) {
  const auto branch = [&](std::string_view name, As as) {
    const json::Value schema = test.parent().get(name);
    if (!schema || source.ignored(schema)) return;
    choices.push_back({Sub{test.index(), as}, Sub{schema.index(), As::refuted}});
  };
  branch("then", As::schema);
  branch("else", As::refuted);
}

// A key is present, and what depends on it is not there or does not hold.
void add_dependent_failures(std::vector<Conj>& choices, json::Value members) {
  for (const json::Value member : members) {
    const Sub with{member.index(), As::present};
    if (!member.is_array()) {
      choices.push_back({with, Sub{member.index(), As::refuted}});
      continue;
    }
    for (const json::Value need : member) choices.push_back({with, Sub{need.index(), As::missing}});
  }
}

// Some item does not satisfy its schema.
void add_item_failures(std::vector<Conj>& choices, json::Value argument) {
  if (argument.is_array()) {
    for (const json::Value item : argument) choices.push_back({Sub{item.index(), As::violated}});
    return;
  }
  if (keyword_of(argument.key()) == Keyword::additional_items) {
    const json::Value items = argument.parent().get("items");
    if (!items || !items.is_array()) return;
  }
  choices.push_back({Sub{argument.index(), As::some}});
}

// The value differs from each member of the list.
void add_enum_failure(std::vector<Conj>& choices, json::Value list) {
  Conj all{Sub{list.index(), As::keyword}};
  for (const json::Value value : list) {
    if (value.is_array() || value.is_object()) add_sub(all, Sub{value.index(), As::differs});
  }
  choices.push_back(std::move(all));
}

// The ways in which a keyword that brings in other schemas or keys can fail.
void add_composite_failures(const Source& source, std::vector<Conj>& choices,
                            json::Value argument) {
  switch (keyword_of(argument.key())) {
    case Keyword::ref:
    case Keyword::recursive_ref:
    case Keyword::dynamic_ref:
      if (const auto found = source.refs.find(argument.index()); found != source.refs.end()) {
        choices.push_back({Sub{found->second, As::refuted}});
      }
      break;
    case Keyword::all_of:
      for (const json::Value part : argument) choices.push_back({Sub{part.index(), As::refuted}});
      break;
    case Keyword::any_of: {
      Conj none;
      for (const json::Value choice : argument) add_sub(none, Sub{choice.index(), As::refuted});
      choices.push_back(std::move(none));
      break;
    }
    case Keyword::one_of:
      add_one_of_failures(choices, argument);
      break;
    case Keyword::not_:
      choices.push_back({Sub{argument.index(), As::schema}});
      break;
    case Keyword::if_:
      add_condition_failures(source, choices, argument);
      break;
    case Keyword::required:
      for (const json::Value key : argument) choices.push_back({Sub{key.index(), As::missing}});
      break;
    case Keyword::properties:
      for (const json::Value member : argument) {
        choices.push_back({Sub{member.index(), As::violated}});
      }
      break;
    case Keyword::pattern_properties:
      for (const json::Value member : argument) {
        if (source.key_patterns.contains(member.index())) {
          choices.push_back({Sub{member.index(), As::some}});
        }
      }
      break;
    case Keyword::additional_properties:
    case Keyword::property_names:
      choices.push_back({Sub{argument.index(), As::some}});
      break;
    case Keyword::items:
    case Keyword::prefix_items:
    case Keyword::additional_items:
      add_item_failures(choices, argument);
      break;
    case Keyword::contains: {
      uint32_t min = 0, max = kOpen;
      if (!contains_bounds(source, argument, min, max)) break;
      if (min > 0) choices.push_back({Sub{argument.index(), As::fewer}});
      if (max != kOpen) choices.push_back({Sub{argument.index(), As::more}});
      break;
    }
    case Keyword::dependent_required:
    case Keyword::dependent_schemas:
    case Keyword::dependencies:
      add_dependent_failures(choices, argument);
      break;
    default:
      break;
  }
}

// The ways in which one keyword of a schema can fail.
void add_failures(const Source& source, std::vector<Conj>& choices, json::Value argument) {
  const Sub fails{argument.index(), As::keyword};
  switch (keyword_of(argument.key())) {
    case Keyword::exclusive_minimum:
    case Keyword::exclusive_maximum:
      if (argument.is_number()) choices.push_back({fails});
      break;
    case Keyword::enum_:
      add_enum_failure(choices, argument);
      break;
    case Keyword::const_:
      choices.push_back({Sub{argument.index(), As::differs}});
      break;
    case Keyword::type:
    case Keyword::minimum:
    case Keyword::maximum:
    case Keyword::multiple_of:
    case Keyword::min_length:
    case Keyword::max_length:
    case Keyword::min_items:
    case Keyword::max_items:
    case Keyword::min_properties:
    case Keyword::max_properties:
      choices.push_back({fails});
      break;
    case Keyword::pattern:
    case Keyword::format:
      if (source.texts.contains(argument.index())) choices.push_back({fails});
      break;
    default:
      add_composite_failures(source, choices, argument);
      break;
  }
}

// Fewer than `count`: nothing is fewer than none.
void below(Form& form, uint8_t type, uint32_t& high, uint32_t count) {
  form.types &= count == 0 ? 0 : type;
  if (count > 0) high = std::min(high, count - 1);
}

void above(Form& form, uint8_t type, uint32_t& low, uint32_t count) {
  form.types &= type;
  low = std::max(low, count + 1);
}

// The keyword bounds a count: its failure is the other side. False for other keywords.
bool refute_count(Form& form, Keyword keyword, json::Value argument) {
  switch (keyword) {
    case Keyword::min_length:
      below(form, kString, form.max_length, count_of(argument));
      return true;
    case Keyword::max_length:
      above(form, kString, form.min_length, count_of(argument));
      return true;
    case Keyword::min_items:
      below(form, kArray, form.max_items, count_of(argument));
      return true;
    case Keyword::max_items:
      above(form, kArray, form.min_items, count_of(argument));
      return true;
    case Keyword::min_properties:
      below(form, kObject, form.max_properties, count_of(argument));
      return true;
    case Keyword::max_properties:
      above(form, kObject, form.min_properties, count_of(argument));
      return true;
    default:
      return false;
  }
}

}  // namespace

void apply_refuted(Source& source, Branch& branch, json::Value schema) {
  if (schema.is_boolean()) {
    if (schema.truth()) branch.form.types = 0;
    return;
  }
  std::vector<Conj> choices;
  const bool only_ref = source.ref_hides(schema);
  for (const json::Value argument : schema) {
    if (source.ignored(argument) || (only_ref && argument.key() != "$ref")) continue;
    add_failures(source, choices, argument);
  }
  if (choices.size() == 1) {
    branch.pending.insert(branch.pending.end(), choices[0].begin(), choices[0].end());
  } else {
    branch.groups.push_back(std::move(choices));  // no choice at all: no value fails
  }
}

void apply_refuted_keyword(Store& store, Source& source, Form& form, json::Value argument) {
  const auto flipped = [&](bool low) {
    form.types &= kNumber;
    auto bound = bound_of(argument, low);
    if (!bound) return;
    bound->open = !bound->open;
    low ? form.number.at_most(*bound) : form.number.at_least(*bound);
  };
  const Keyword keyword = keyword_of(argument.key());
  if (refute_count(form, keyword, argument)) return;
  switch (keyword) {
    case Keyword::type:
      apply_type(form, argument, false, source.dialect);
      break;
    case Keyword::enum_: {
      std::vector<json::Value> values;
      for (const json::Value value : argument) values.push_back(value);
      apply_other_values(store, form, values);
      break;
    }
    case Keyword::minimum:
    case Keyword::exclusive_minimum:
      flipped(true);
      break;
    case Keyword::maximum:
    case Keyword::exclusive_maximum:
      flipped(false);
      break;
    case Keyword::multiple_of:
      form.types &= kNumber;
      if (const auto value = Decimal::parse(argument.text())) {
        if (const auto step = Step::of(*value)) form.number.avoid.push_back(*step);
      }
      break;
    case Keyword::pattern:
    case Keyword::format:
      form.types &= kString;
      if (const auto text = source.text_at(store, argument)) form.not_texts.push_back(*text);
      break;
    default:
      break;
  }
}

}  // namespace treadle::schema
