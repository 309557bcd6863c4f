// Typed forms: a conjunction of schemas as alternatives of plain constraints, one set a type.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "grammar/front/schema_source.h"
#include "grammar/typed/num.h"

namespace treadle::schema {

// Of the items from index `from` on, `min` to `max` meet (or refute) the schema.
struct ItemCount {
  Sub item;
  uint32_t from = 0;
  uint32_t min = 0;
  uint32_t max = kOpen;
  auto operator<=>(const ItemCount&) const = default;
};

// `unevaluatedProperties` or `unevaluatedItems`, and the schemas that hold at the same place and
// tell what is evaluated. The one that it stands in comes first.
struct Unevaluated {
  uint32_t argument = 0;
  std::vector<uint32_t> scope;
};

// One alternative. A constraint on one type leaves the others free.
struct Form {
  uint8_t types = kAllTypes;
  // numbers
  NumberSet number;
  std::optional<std::vector<Decimal>> numbers;  // sorted; only these
  std::vector<Decimal> not_numbers;             // none of these
  bool whole_spelling = false;                  // no point, no exponent (draft 4's integer)
  bool split_spelling = false;                  // a point or an exponent
  // strings
  uint32_t min_length = 0;
  uint32_t max_length = kOpen;
  std::vector<NodeRef> texts;      // regular, over decoded UTF-8; all must match
  std::vector<NodeRef> not_texts;  // none of these may
  // arrays: `arrays` holds schemas with prefixItems, items, ..., array literals, and items that
  // must not hold (`refuted`) or not be equal (`differs`)
  std::vector<Sub> arrays;
  std::vector<ItemCount> counts;
  std::vector<Unevaluated> other_items;
  bool unique_items = false;
  uint32_t min_items = 0;
  uint32_t max_items = kOpen;
  // objects: likewise, with members of `properties` and of literals
  std::vector<Sub> objects;
  // Some key fails the argument (`some`), or is not one of the literal's (`longer`).
  std::vector<Sub> somes;
  std::vector<Unevaluated> other_keys;
  std::vector<std::string_view> required;
  std::vector<std::string_view> absent;
  std::vector<uint32_t> needs;  // arguments of dependentRequired
  Conj names;                   // propertyNames
  uint32_t min_properties = 0;
  uint32_t max_properties = kOpen;
};

// The alternatives of a conjunction; their union is exact. None: no value meets it.
Result<std::vector<Form>> forms_of(Store& store, Source& source, const Conj& conj, bool loose,
                                   const Limits& limits, Fuel& fuel);

// The decoded texts of the strings that meet the conjunction, as a regular node.
Result<NodeRef> text_of(Store& store, Source& source, const Conj& conj, bool loose,
                        const Limits& limits, Fuel& fuel);

// Draws the fuel for finding texts of the form that are as long as its minimum: where patterns are
// to match too, that takes a walk of so many steps. False when it is not there.
bool afford_text(Store& store, const Form& form, Fuel& fuel);

// The strings that one form allows, as texts.
NodeRef form_text(Store& store, const Form& form);

// The place of an item in its array.
uint32_t item_index(json::Value item);

// The numbers that one form allows, as sets that have nothing in common. What draft 4 says of their
// spelling is left out: see number_shape().
std::vector<NumberSet> number_sets(const Form& form, Spelling spelling);

// What the form's numbers must match as spelled; empty(): anything.
NodeRef number_shape(Store& store, const Form& form);

// The values of one form as JSON, `depth` as of a Place.
Result<NodeRef> json_of(Store& store, const SourceRef& source, const Form& form, uint32_t depth,
                        bool loose, Fuel& fuel);

// The values of one form as they are written in a place.
Result<NodeRef> written(Store& store, const SourceRef& source, const Form& form, Place place,
                        bool loose, Fuel& fuel);

// A bound or count of a schema: a natural number, clipped to below kOpen.
uint32_t count_of(json::Value argument);

}  // namespace treadle::schema
