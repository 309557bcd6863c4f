#include "grammar/front/schema_keyword.h"

#include <algorithm>
#include <array>
#include <utility>

namespace treadle::schema {
namespace {

using Entry = std::pair<std::string_view, Keyword>;

constexpr std::array kKeywords = {
    Entry{"$anchor", Keyword::anchor},
    Entry{"$comment", Keyword::annotation},
    Entry{"$defs", Keyword::defs},
    Entry{"$dynamicAnchor", Keyword::dynamic_anchor},
    Entry{"$dynamicRef", Keyword::dynamic_ref},
    Entry{"$id", Keyword::id},
    Entry{"$recursiveAnchor", Keyword::recursive_anchor},
    Entry{"$recursiveRef", Keyword::recursive_ref},
    Entry{"$ref", Keyword::ref},
    Entry{"$schema", Keyword::schema},
    Entry{"$vocabulary", Keyword::vocabulary},
    Entry{"additionalItems", Keyword::additional_items},
    Entry{"additionalProperties", Keyword::additional_properties},
    Entry{"allOf", Keyword::all_of},
    Entry{"anyOf", Keyword::any_of},
    Entry{"const", Keyword::const_},
    Entry{"contains", Keyword::contains},
    Entry{"contentEncoding", Keyword::annotation},
    Entry{"contentMediaType", Keyword::annotation},
    Entry{"contentSchema", Keyword::annotation},
    Entry{"default", Keyword::annotation},
    Entry{"definitions", Keyword::defs},
    Entry{"dependencies", Keyword::dependencies},
    Entry{"dependentRequired", Keyword::dependent_required},
    Entry{"dependentSchemas", Keyword::dependent_schemas},
    Entry{"deprecated", Keyword::annotation},
    Entry{"description", Keyword::annotation},
    Entry{"disallow", Keyword::draft3},
    Entry{"discriminator", Keyword::annotation},
    Entry{"divisibleBy", Keyword::draft3},
    Entry{"else", Keyword::else_},
    Entry{"enum", Keyword::enum_},
    Entry{"example", Keyword::annotation},
    Entry{"examples", Keyword::annotation},
    Entry{"exclusiveMaximum", Keyword::exclusive_maximum},
    Entry{"exclusiveMinimum", Keyword::exclusive_minimum},
    Entry{"extends", Keyword::draft3},
    Entry{"externalDocs", Keyword::annotation},
    Entry{"format", Keyword::format},
    Entry{"id", Keyword::id},
    Entry{"if", Keyword::if_},
    Entry{"items", Keyword::items},
    Entry{"maxContains", Keyword::max_contains},
    Entry{"maxItems", Keyword::max_items},
    Entry{"maxLength", Keyword::max_length},
    Entry{"maxProperties", Keyword::max_properties},
    Entry{"maximum", Keyword::maximum},
    Entry{"minContains", Keyword::min_contains},
    Entry{"minItems", Keyword::min_items},
    Entry{"minLength", Keyword::min_length},
    Entry{"minProperties", Keyword::min_properties},
    Entry{"minimum", Keyword::minimum},
    Entry{"multipleOf", Keyword::multiple_of},
    Entry{"not", Keyword::not_},
    Entry{"nullable", Keyword::nullable},
    Entry{"oneOf", Keyword::one_of},
    Entry{"pattern", Keyword::pattern},
    Entry{"patternProperties", Keyword::pattern_properties},
    Entry{"prefixItems", Keyword::prefix_items},
    Entry{"properties", Keyword::properties},
    Entry{"propertyNames", Keyword::property_names},
    Entry{"readOnly", Keyword::annotation},
    Entry{"required", Keyword::required},
    Entry{"then", Keyword::then_},
    Entry{"title", Keyword::annotation},
    Entry{"type", Keyword::type},
    Entry{"unevaluatedItems", Keyword::unevaluated_items},
    Entry{"unevaluatedProperties", Keyword::unevaluated_properties},
    Entry{"uniqueItems", Keyword::unique_items},
    Entry{"writeOnly", Keyword::annotation},
    Entry{"xml", Keyword::annotation},
};

// The keywords in a table of their lengths and first and last letters, which few share.
constexpr size_t kSlots = 256;

constexpr size_t slot_of(std::string_view name) {
  const auto first = static_cast<unsigned char>(name.front());
  const auto last = static_cast<unsigned char>(name.back());
  return (name.size() * 37 + first * 5 + last * 11) % kSlots;
}

constexpr auto kTable = [] {
  std::array<uint8_t, kSlots> out{};  // index of the keyword, from 1; collisions go on
  for (size_t i = 0; i < kKeywords.size(); ++i) {
    size_t slot = slot_of(kKeywords[i].first);
    while (out[slot] != 0) slot = (slot + 1) % kSlots;
    out[slot] = static_cast<uint8_t>(i + 1);
  }
  return out;
}();

}  // namespace

Keyword keyword_of(std::string_view name) {
  if (name.empty()) return Keyword::unknown;
  for (size_t slot = slot_of(name); kTable[slot] != 0; slot = (slot + 1) % kSlots) {
    const Entry& entry = kKeywords[kTable[slot] - 1];
    if (entry.first == name) return entry.second;
  }
  return name.starts_with("x-") ? Keyword::annotation : Keyword::unknown;
}

Dialect dialect_of(std::string_view uri, bool& known) {
  known = true;
  while (uri.ends_with("#") || uri.ends_with("/")) uri.remove_suffix(1);
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (uri.starts_with(scheme)) uri.remove_prefix(scheme.size());
  }
  if (uri == "json-schema.org/draft-04/schema") return Dialect::draft4;
  if (uri == "json-schema.org/draft-06/schema") return Dialect::draft6;
  if (uri == "json-schema.org/draft-07/schema") return Dialect::draft7;
  if (uri == "json-schema.org/draft/2019-09/schema") return Dialect::draft2019;
  if (uri == "json-schema.org/draft/2020-12/schema") return Dialect::draft2020;
  known = uri == "json-schema.org/schema";  // "the latest", as old schemas say
  return Dialect::any;
}

uint8_t type_bits(std::string_view name, bool& integer) {
  if (name == "integer") {
    integer = true;
    return kNumber;
  }
  if (name == "null") return kNull;
  if (name == "boolean") return kBoolean;
  if (name == "number") return kNumber;
  if (name == "string") return kString;
  if (name == "array") return kArray;
  return name == "object" ? static_cast<uint8_t>(kObject) : 0;
}

}  // namespace treadle::schema
