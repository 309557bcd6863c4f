// What the argument of a keyword must look like. Also read under `lenient`: a malformed schema is
// never a weaker one.
#include <array>

#include "grammar/front/schema_check.h"
#include "grammar/typed/decimal.h"

namespace treadle::schema {

Status Checker::wrong(json::Value argument, std::string_view expected) const {
  std::string text = "expected " + std::string(expected) + ", got ";
  if (argument.is_string()) {
    text += "\"" + std::string(argument.text().substr(0, 40)) + "\"";
  } else if (argument.is_number()) {
    text += argument.text().substr(0, 40);
  } else {
    text += json::kind_name(argument.kind());
  }
  std::string keyword(argument.key());
  return syntax_error(source_->pointer(argument), std::move(text), std::move(keyword));
}

Status Checker::number(json::Value argument) const {
  if (!argument.is_number()) return wrong(argument, "a number");
  if (Decimal::parse(argument.text())) return ok_status();
  return limit_exceeded("number_digits", static_cast<double>(argument.text().size()),
                        Decimal::kMaxExponent, source_->pointer(argument));
}

Status Checker::names(json::Value argument) const {
  if (!argument.is_array()) return wrong(argument, "a list of property names");
  for (const json::Value name : argument) {
    if (!name.is_string()) return wrong(name, "a property name");
  }
  return ok_status();
}

// Numbers inside an enum or const must be within reach of exact arithmetic.
Status Checker::literals(json::Value argument) const {
  const auto& nodes = source_->doc.nodes;
  for (uint32_t i = argument.index(); i < nodes.size(); ++i) {
    if (i > argument.index() &&
        (nodes[i].parent == json::kNone || nodes[i].parent < argument.index()))
      break;
    if (nodes[i].kind != json::Kind::number) continue;
    if (Status status = number(source_->at(i)); !status.ok()) return status;
  }
  return ok_status();
}

Status Checker::types(json::Value argument) const {
  bool integer = false;
  const auto known = [&](json::Value name) {
    return name.is_string() && type_bits(name.text(), integer) != 0;
  };
  if (!argument.is_array()) return known(argument) ? ok_status() : wrong(argument, "a type name");
  if (argument.size() == 0) return wrong(argument, "a type name");
  for (const json::Value name : argument) {
    if (!known(name)) return wrong(name, "a type name");
  }
  return ok_status();
}

// `multipleOf` must be positive, counts natural.
Status Checker::count(json::Value argument, bool natural) const {
  if (Status status = number(argument); !status.ok()) return status;
  const auto value = Decimal::parse(argument.text());
  if (natural) {
    const bool good = !value->negative && value->is_integer();
    return good ? ok_status() : wrong(argument, "a natural number");
  }
  const bool good = !value->negative && !value->is_zero();
  return good ? ok_status() : wrong(argument, "a number above zero");
}

Status Checker::number_syntax(json::Value argument, Keyword keyword) const {
  switch (keyword) {
    case Keyword::exclusive_minimum:
    case Keyword::exclusive_maximum:
      return argument.is_boolean() ? ok_status() : number(argument);
    case Keyword::minimum:
    case Keyword::maximum:
      return number(argument);
    case Keyword::multiple_of:
      return count(argument, false);
    case Keyword::min_length:
    case Keyword::max_length:
    case Keyword::min_items:
    case Keyword::max_items:
    case Keyword::min_properties:
    case Keyword::max_properties:
    case Keyword::min_contains:
    case Keyword::max_contains:
      return count(argument, true);
    default:
      return ok_status();
  }
}

Status Checker::syntax(json::Value argument, Keyword keyword) const {
  switch (keyword) {
    case Keyword::type:
      return types(argument);
    case Keyword::enum_:
      if (!argument.is_array()) return wrong(argument, "a list of values");
      return literals(argument);
    case Keyword::const_:
      return literals(argument);
    case Keyword::unique_items:
    case Keyword::nullable:
      return argument.is_boolean() ? ok_status() : wrong(argument, "true or false");
    case Keyword::all_of:
    case Keyword::any_of:
    case Keyword::one_of:
      if (argument.is_array() && argument.size() > 0) return ok_status();
      return wrong(argument, "a list of schemas, not empty");
    case Keyword::prefix_items:
      return argument.is_array() ? ok_status() : wrong(argument, "a list of schemas");
    case Keyword::properties:
    case Keyword::pattern_properties:
    case Keyword::dependent_schemas:
    case Keyword::dependencies:
    case Keyword::dependent_required:
      return argument.is_object() ? ok_status() : wrong(argument, "an object");
    case Keyword::pattern:
    case Keyword::format:
    case Keyword::ref:
    case Keyword::dynamic_ref:
    case Keyword::recursive_ref:
      return argument.is_string() ? ok_status() : wrong(argument, "a string");
    case Keyword::required:
      // Draft 3 wrote it as a boolean inside the property; schema_check refuses that.
      return argument.is_boolean() ? ok_status() : names(argument);
    default:
      return number_syntax(argument, keyword);
  }
}

}  // namespace treadle::schema
