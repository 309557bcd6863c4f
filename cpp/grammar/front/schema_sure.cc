// Schemas that plainly have values: most of those that people write. Everything else is left to the
// search for a witness, which expands the schema.
#include <algorithm>
#include <optional>

#include "grammar/front/schema_form.h"
#include "grammar/front/schema_source.h"

namespace treadle::schema {
namespace {

constexpr uint32_t kDepth = 64;      // deeper schemas are not looked into
constexpr size_t kBoundDigits = 18;  // of a bound that a written number surely reaches

// A bound as an integer, if it is written as one.
std::optional<int64_t> integer_of(json::Value argument) {
  std::string_view text = argument.text();
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (!argument.is_number() || text.size() > kBoundDigits) return std::nullopt;
  int64_t out = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    out = out * 10 + (c - '0');
  }
  return negative ? -out : out;
}

}  // namespace

// The keywords of one schema, by what they constrain.
struct Source::Outline {
  json::Value schema;
  json::Value type, literal;  // enum or const
  json::Value only;           // $ref, anyOf or allOf, where nothing stands beside it
  json::Value low, high;      // minimum, maximum
  json::Value pattern, format, short_, long_;
  json::Value items, few_items, many_items;
  json::Value properties, required, additional, many_keys;
  bool number = false;      // a bound or step
  bool odd_number = false;  // a step, or a bound that excludes its value
  bool odd_array = false, odd_object = false;
  bool names = false;   // patternProperties, propertyNames
  uint32_t others = 0;  // keywords beside `only`
  bool odd = false;     // a keyword that is not looked into
};

bool Source::sure(const Store& store, uint32_t node, uint32_t depth) {
  if (depth > kDepth) return false;
  if (sure_.size() < doc.nodes.size()) sure_.resize(doc.nodes.size(), 0);
  if (sure_[node] != 0) return sure_[node] == 2;
  sure_[node] = 1;  // a schema within itself says nothing about itself
  const bool found = look(store, at(node), depth);
  if (found) sure_[node] = 2;
  return found;
}

bool Source::look(const Store& store, json::Value schema, uint32_t depth) {
  if (schema.is_boolean()) return schema.truth();
  if (!schema.is_object()) return false;
  Outline out;
  out.schema = schema;
  const bool only_ref = ref_hides(schema);
  for (const json::Value argument : schema) {
    if (ignored(argument) || (only_ref && argument.key() != "$ref")) continue;
    ++out.others;
    switch (keyword_of(argument.key())) {
      case Keyword::annotation:
      case Keyword::unknown:
      case Keyword::anchor:
      case Keyword::defs:
      case Keyword::dynamic_anchor:
      case Keyword::recursive_anchor:
      case Keyword::id:
      case Keyword::schema:
      case Keyword::vocabulary:
      case Keyword::nullable:
        --out.others;
        break;
      case Keyword::ref:
      case Keyword::any_of:
      case Keyword::all_of:
        out.only = argument;
        break;
      case Keyword::type:
        out.type = argument;
        break;
      case Keyword::enum_:
      case Keyword::const_:
        out.odd |= static_cast<bool>(out.literal);
        out.literal = argument;
        break;
      case Keyword::minimum:
        out.low = argument;
        out.number = true;
        break;
      case Keyword::maximum:
        out.high = argument;
        out.number = true;
        break;
      case Keyword::exclusive_minimum:
      case Keyword::exclusive_maximum:
      case Keyword::multiple_of:
        out.number = out.odd_number = true;
        break;
      case Keyword::pattern:
        out.pattern = argument;
        break;
      case Keyword::format:
        if (texts.contains(argument.index())) out.format = argument;
        break;
      case Keyword::min_length:
        out.short_ = argument;
        break;
      case Keyword::max_length:
        out.long_ = argument;
        break;
      case Keyword::items:
        out.items = argument;
        break;
      case Keyword::min_items:
        out.few_items = argument;
        break;
      case Keyword::max_items:
        out.many_items = argument;
        break;
      case Keyword::additional_items:
      case Keyword::prefix_items:
      case Keyword::contains:
        out.odd_array = true;
        break;
      case Keyword::unique_items:
        out.odd_array |= argument.truth();
        break;
      case Keyword::properties:
        out.properties = argument;
        break;
      case Keyword::required:
        out.required = argument;
        break;
      case Keyword::additional_properties:
        out.additional = argument;
        break;
      case Keyword::max_properties:
        out.many_keys = argument;
        break;
      case Keyword::pattern_properties:
      case Keyword::property_names:
        out.names = true;
        break;
      case Keyword::min_properties:
        out.odd_object |= count_of(argument) > 0;
        break;
      default:
        out.odd = true;
        break;
    }
  }
  return !out.odd && fits(store, out, depth);
}

bool Source::fits(const Store& store, const Outline& outline, uint32_t depth) {
  if (outline.only) {
    if (outline.others > 1) return false;
    if (outline.only.is_string()) {
      const auto target = refs.find(outline.only.index());
      return target != refs.end() && sure(store, target->second, depth + 1);
    }
    const bool all = outline.only.key() == "allOf";
    if (all)
      return outline.only.size() == 1 && sure(store, outline.only.first().index(), depth + 1);
    return std::any_of(outline.only.begin(), outline.only.end(),
                       [&](json::Value choice) { return sure(store, choice.index(), depth + 1); });
  }
  uint8_t types = outline.type ? 0 : kAllTypes;
  bool integer = false;
  const auto add = [&](json::Value name) { types |= type_bits(name.text(), integer); };
  if (outline.type && outline.type.is_string()) add(outline.type);
  if (outline.type && outline.type.is_array()) {
    for (const json::Value name : outline.type) add(name);
  }
  if (outline.literal) {
    // One scalar will do where nothing but a type stands beside it.
    if (outline.others > (outline.type ? 2u : 1u)) return false;
    const auto allowed = [&](json::Value value) {
      switch (value.kind()) {
        case json::Kind::null:
          return (types & kNull) != 0;
        case json::Kind::boolean:
          return (types & kBoolean) != 0;
        case json::Kind::string:
          return (types & kString) != 0;
        case json::Kind::number:
          return (types & kNumber) != 0 && integer_of(value).has_value();
        default:
          return false;
      }
    };
    if (outline.literal.key() == "const") return allowed(outline.literal);
    return std::any_of(outline.literal.begin(), outline.literal.end(), allowed);
  }
  if (types & (kNull | kBoolean)) return true;
  if ((types & kNumber) && !outline.number) return true;
  if ((types & kNumber) && !outline.odd_number) {
    const auto low = outline.low ? integer_of(outline.low) : 0;
    const auto high = outline.high ? integer_of(outline.high) : low;
    if (low && high && (!outline.high || !outline.low || *low <= *high)) return true;
  }
  if ((types & kString) && has_text(store, outline)) return true;
  if ((types & kArray) && has_array(store, outline, depth)) return true;
  return (types & kObject) && has_object(store, outline, depth);
}

bool Source::has_text(const Store& store, const Outline& outline) const {
  const bool counted = outline.short_ || outline.long_;
  if (!outline.pattern && !outline.format) {
    return !outline.short_ || !outline.long_ || count_of(outline.short_) <= count_of(outline.long_);
  }
  if (counted || (outline.pattern && outline.format)) return false;
  if (outline.format) return true;
  const auto text = texts.find(outline.pattern.index());
  return text != texts.end() && store.node(text->second).facts.plain;
}

bool Source::has_array(const Store& store, const Outline& outline, uint32_t depth) {
  const uint32_t least = outline.few_items ? count_of(outline.few_items) : 0;
  if (outline.many_items && count_of(outline.many_items) < least) return false;
  if (least == 0 && !outline.schema.get("contains")) return true;
  if (outline.odd_array) return false;
  if (!outline.items) return true;
  return !outline.items.is_array() && sure(store, outline.items.index(), depth + 1);
}

bool Source::has_object(const Store& store, const Outline& outline, uint32_t depth) {
  if (outline.odd_object) return false;
  if (!outline.required || outline.required.size() == 0) return true;
  if (outline.names || !outline.required.is_array()) return false;
  if (outline.many_keys && count_of(outline.many_keys) < outline.required.size()) return false;
  const bool others = !outline.additional || sure(store, outline.additional.index(), depth + 1);
  return std::all_of(outline.required.begin(), outline.required.end(), [&](json::Value key) {
    const json::Value value =
        outline.properties ? member(outline.properties, key.text()) : json::Value();
    return value ? sure(store, value.index(), depth + 1) : others;
  });
}

}  // namespace treadle::schema
