// Typed forms: a conjunction of schemas as alternatives of plain constraints, one set a type.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "grammar/front/schema_source.h"
#include "grammar/typed/num.h"

namespace treadle::schema {

// One alternative. A constraint on one type leaves the others free.
struct Form {
  uint8_t types = kAllTypes;
  // numbers
  NumberSet number;
  std::optional<std::vector<Decimal>> numbers;  // sorted; only these
  std::vector<Decimal> not_numbers;             // none of these
  bool whole_spelling = false;                  // no point, no exponent (draft 4's integer)
  // strings
  uint32_t min_length = 0;
  uint32_t max_length = kOpen;
  std::vector<NodeRef> texts;      // regular, over decoded UTF-8; all must match
  std::vector<NodeRef> not_texts;  // none of these may
  // arrays: `arrays` holds schemas with prefixItems, items, ... and array literals
  std::vector<Sub> arrays;
  uint32_t min_items = 0;
  uint32_t max_items = kOpen;
  // objects: likewise; `refuted` subs are members of `properties` that must not hold
  std::vector<Sub> objects;
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

// The strings that one form allows, as texts.
NodeRef form_text(Store& store, const Form& form);

// The values of one form as JSON.
Result<NodeRef> json_of(Store& store, const SourceRef& source, const Form& form, bool loose,
                        Fuel& fuel);

// The arrays of one form; `role` is that of the items, which decides how the array is written.
NodeRef array_of(Store& store, const SourceRef& source, const Form& form, Role role, bool loose);

// A bound or count of a schema: a natural number, clipped to below kOpen.
uint32_t count_of(json::Value argument);

}  // namespace treadle::schema
