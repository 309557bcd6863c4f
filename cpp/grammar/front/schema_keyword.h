// The vocabulary of JSON Schema: keywords, dialects, type names.
#pragma once

#include <cstdint>
#include <string_view>

namespace treadle::schema {

enum class Keyword : uint8_t {
  additional_items,
  additional_properties,
  all_of,
  anchor,
  annotation,  // title, description, default, ...: no effect on validity
  any_of,
  const_,
  contains,
  defs,
  dependencies,
  dependent_required,
  dependent_schemas,
  draft3,  // extends, disallow, divisibleBy
  dynamic_anchor,
  dynamic_ref,
  else_,
  enum_,
  exclusive_maximum,
  exclusive_minimum,
  format,
  id,
  if_,
  items,
  max_contains,
  max_items,
  max_length,
  max_properties,
  maximum,
  min_contains,
  min_items,
  min_length,
  min_properties,
  minimum,
  multiple_of,
  not_,
  nullable,
  one_of,
  pattern,
  pattern_properties,
  prefix_items,
  properties,
  property_names,
  recursive_anchor,
  recursive_ref,
  ref,
  required,
  schema,
  then_,
  type,
  unevaluated_items,
  unevaluated_properties,
  unique_items,
  unknown,
  vocabulary,
};

enum class Dialect : uint8_t { draft4, draft6, draft7, draft2019, draft2020, any };

Keyword keyword_of(std::string_view name);

// The dialect that a `$schema` URI names; `any` for the URIs of no dialect. `known` tells apart.
Dialect dialect_of(std::string_view uri, bool& known);

// Bits of the typed forms of a value.
enum Types : uint8_t {
  kNull = 1,
  kFalse = 2,
  kTrue = 4,
  kBoolean = 6,
  kNumber = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
  kAllTypes = 127,
};

// The bits of a type name, 0 for an unknown one. "integer" gives kNumber and sets `integer`.
uint8_t type_bits(std::string_view name, bool& integer);

}  // namespace treadle::schema
