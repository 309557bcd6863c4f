#include "grammar/front/tag_fields.h"

#include <algorithm>

namespace treadle::tag {
namespace {

constexpr uint32_t kMaxCount = 0x7FFFFFFF;

}  // namespace

bool Fields::wrong(const Value& v, const char* wanted) {
  return fail(syntax_error(v.pointer(), "expected " + std::string(wanted) + ", got " +
                                            std::string(json::kind_name(v.kind()))));
}

bool Fields::missing(const Value& object, std::string_view field) {
  std::string name(field);
  return fail(syntax_error(object.pointer() + "/" + name, "missing; give " + name));
}

bool Fields::refuse(const Value& v, std::string_view field, const char* why) {
  return fail(unsupported(v.pointer(), why, std::string(field)));
}

bool Fields::only(const Value& object, std::initializer_list<std::string_view> fields) {
  for (Value member : object) {
    std::string_view key = member.key();
    if (key == "type" || std::find(fields.begin(), fields.end(), key) != fields.end()) continue;
    return fail(syntax_error(member.pointer(), "unknown field; remove it", std::string(key)));
  }
  return true;
}

bool Fields::text(const Value& object, std::string_view field, std::string& out) {
  Value v = object.get(field);
  if (!v) return missing(object, field);
  if (!v.is_string()) return wrong(v, "a string");
  out = v.text();
  return true;
}

bool Fields::flag(const Value& object, std::string_view field, bool& out) {
  Value v = object.get(field);
  if (!v) return true;
  if (!v.is_boolean()) return wrong(v, "true or false");
  out = v.truth();
  return true;
}

bool Fields::integer(const Value& v, uint32_t& out) {
  if (!v.is_number()) return wrong(v, "a number");
  uint64_t wide = 0;
  for (char c : v.text()) {
    if (c < '0' || c > '9' || wide > kMaxCount) {
      wide = uint64_t{kMaxCount} + 1;
      break;
    }
    wide = wide * 10 + static_cast<uint64_t>(c - '0');
  }
  if (wide > kMaxCount) {
    return fail(syntax_error(v.pointer(), "expected a whole number from 0 to 2147483647"));
  }
  out = static_cast<uint32_t>(wide);
  return true;
}

bool Fields::bound(const Value& object, std::string_view field, uint32_t& out) {
  Value v = object.get(field);
  return !v || v.is_null() || integer(v, out);
}

bool Fields::strings(const Value& object, std::string_view field, std::vector<std::string>& out) {
  Value v = object.get(field);
  if (!v) return true;
  if (!v.is_array()) return wrong(v, "a list of strings");
  for (Value item : v) {
    if (!item.is_string()) return wrong(item, "a string");
    if (item.text().empty()) {
      return fail(syntax_error(item.pointer(), "an empty string; leave it out"));
    }
    out.emplace_back(item.text());
  }
  return true;
}

bool Fields::token(const Value& v, Token& out) {
  if (v.is_number()) return integer(v, out.id);
  if (!v.is_string()) return wrong(v, "a token id or a token's text");
  if (v.text().empty()) return fail(syntax_error(v.pointer(), "an empty text names no token"));
  out.name = v.text();
  return true;
}

bool Fields::tokens(const Value& object, std::string_view field, std::vector<Token>& out) {
  Value v = object.get(field);
  if (!v) return true;
  if (!v.is_array()) return wrong(v, "a list of token ids or texts");
  for (Value item : v) {
    out.emplace_back();
    if (!token(item, out.back())) return false;
  }
  return true;
}

bool Fields::mark(const Value& v, Mark& out) {
  if (v.is_string()) {
    out.text = v.text();
    return true;
  }
  if (!v.is_object()) return wrong(v, "a string or a token format");
  Value type = v.get("type");
  if (!type || !type.is_string() || type.text() != "token") {
    return fail(syntax_error(v.pointer(), "expected a string or a format of type token"));
  }
  if (!only(v, {"token"})) return false;
  Value which = v.get("token");
  if (!which) return missing(v, "token");
  out.is_token = true;
  return token(which, out.token);
}

void add_token(TokenSet& set, const Token& token) {
  if (token.name.empty()) {
    set.ids.push_back(token.id);
  } else {
    set.names.push_back(token.name);
  }
}

}  // namespace treadle::tag
