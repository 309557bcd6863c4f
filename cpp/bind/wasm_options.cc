#include "bind/wasm_options.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "bind/wasm_objects.h"
#include "grammar/front/json_read.h"

namespace treadle::wasm {

namespace {

struct LimitField {
  std::string_view name;
  uint64_t Limits::* field;
};

constexpr LimitField kLimits[] = {
    {"source_bytes", &Limits::source_bytes},   {"source_depth", &Limits::source_depth},
    {"regex_bytes", &Limits::regex_bytes},     {"ir_nodes", &Limits::ir_nodes},
    {"derived_nodes", &Limits::derived_nodes}, {"compile_fuel", &Limits::compile_fuel},
    {"step_fuel", &Limits::step_fuel},         {"stack_depth", &Limits::stack_depth},
    {"branches", &Limits::branches},           {"configs", &Limits::configs},
    {"number_digits", &Limits::number_digits}, {"seen_values", &Limits::seen_values},
    {"whitespace", &Limits::whitespace},       {"cache_bytes", &Limits::cache_bytes},
};
// A field that is missing above would be one that a page cannot set.
static_assert(sizeof(Limits) == std::size(kLimits) * sizeof(uint64_t));

Status wrong(json::Value value, std::string_view expected) {
  return invalid_request("options" + value.pointer(), "give " + std::string(expected));
}

Status unknown(json::Value value) {
  return invalid_request("options" + value.pointer(),
                         "no such option here; leave it out or correct its name");
}

// Sizes of a 32-bit machine.
Status read_count(json::Value value, uint64_t& out) {
  constexpr std::string_view kExpected = "a whole number from 0 to 4294967295";
  if (!value.is_number() || value.text().size() > 10) return wrong(value, kExpected);
  uint64_t number = 0;
  for (char c : value.text()) {
    if (c < '0' || c > '9') return wrong(value, kExpected);
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  if (number > UINT32_MAX) return wrong(value, kExpected);
  out = number;
  return ok_status();
}

Status read_flag(json::Value value, bool& out) {
  if (!value.is_boolean()) return wrong(value, "true or false");
  out = value.truth();
  return ok_status();
}

Status read_text(json::Value value, std::string& out) {
  if (!value.is_string()) return wrong(value, "a string");
  out = value.text();
  return ok_status();
}

// `out`: whether the value is `other`.
Status read_either(json::Value value, std::string_view usual, std::string_view other, bool& out) {
  out = value.is_string() && value.text() == other;
  if (out || (value.is_string() && value.text() == usual)) return ok_status();
  return wrong(value, "\"" + std::string(usual) + "\" or \"" + std::string(other) + "\"");
}

Status read_limits(json::Value object, Limits& out) {
  if (!object.is_object()) return wrong(object, "an object of limits");
  for (json::Value value : object) {
    uint64_t Limits::* field = nullptr;
    for (const LimitField& limit : kLimits) {
      if (limit.name == value.key()) field = limit.field;
    }
    if (!field) return unknown(value);
    Status status = read_count(value, out.*field);
    if (!status.ok()) return status;
  }
  return ok_status();
}

// As json.dumps: an indent stands for the blank behind the comma.
Status read_separators(json::Value value, SchemaOptions& out) {
  const json::Value comma = value.first();
  const bool pair = value.is_array() && value.size() == 2;
  if (!pair || !comma.is_string() || !comma.next().is_string()) return wrong(value, "two texts");
  if (!out.layout) out.layout.emplace();
  out.layout->comma = comma.text();
  out.layout->colon = comma.next().text();
  return ok_status();
}

Status read_spelling(json::Value value, SchemaOptions& out) {
  std::string_view name = value.key();
  bool narrow = false;
  Status status;
  if (name == "whitespace") {
    uint64_t count = 0;
    status = read_count(value, count);
    out.whitespace = static_cast<uint32_t>(count);
  } else if (name == "separators") {
    status = read_separators(value, out);
  } else if (name == "indent") {
    uint64_t count = 0;
    status = read_count(value, count);
    if (!out.layout) out.layout = Layout{",", ": ", std::nullopt};
    out.layout->indent = static_cast<uint32_t>(std::min<uint64_t>(count, UINT32_MAX));
  } else if (name == "escapes") {
    status = read_either(value, "any", "minimal", narrow);
    out.escapes = narrow ? Escapes::minimal : Escapes::any;
  } else if (name == "numbers") {
    status = read_either(value, "any", "plain", narrow);
    out.numbers = narrow ? Spelling::plain : Spelling::any;
  } else {
    return unknown(value);
  }
  return status;
}

Status read_resources(json::Value object, std::vector<std::pair<std::string, std::string>>& out) {
  if (!object.is_object()) return wrong(object, "an object of JSON texts");
  for (json::Value value : object) {
    std::string text;
    Status status = read_text(value, text);
    if (!status.ok()) return status;
    out.emplace_back(value.key(), std::move(text));
  }
  return ok_status();
}

Status read_formats(json::Value value, SchemaOptions& out) {
  if (!value.is_string()) return read_flag(value, out.assert_formats);
  out.exact_formats = value.text() == "exact";
  out.assert_formats = value.text() != "annotate";
  const bool known = out.exact_formats || !out.assert_formats || value.text() == "assert";
  return known ? ok_status() : wrong(value, R"(true, false, "assert", "annotate" or "exact")");
}

Status read_schema(json::Value value, SchemaOptions& out) {
  std::string_view name = value.key();
  if (name == "order") return read_either(value, "any", "declared", out.declared_order);
  if (name == "lenient") return read_flag(value, out.lenient);
  if (name == "formats") return read_formats(value, out);
  if (name == "at") return read_text(value, out.at);
  if (name == "closed") return read_flag(value, out.closed);
  if (name == "resources") return read_resources(value, out.resources);
  return read_spelling(value, out);
}

Status read_named(json::Value object, std::vector<std::string>& out) {
  if (!object.is_object()) return wrong(object, "an object of Lark texts");
  for (json::Value value : object) {
    std::string text;
    Status status = read_text(value, text);
    if (!status.ok()) return status;
    out.emplace_back(value.key());
    out.push_back(std::move(text));
  }
  return ok_status();
}

Status read_option(json::Value value, SourceKind kind, Options& out) {
  std::string_view name = value.key();
  if (name == "limits") return read_limits(value, out.limits);
  if (kind == SourceKind::schema) return read_schema(value, out.schema);
  if (kind == SourceKind::json || kind == SourceKind::json_object) {
    return read_spelling(value, out.schema);
  }
  bool rules = kind == SourceKind::ebnf || kind == SourceKind::lark;
  if (rules && name == "root") return read_text(value, out.root);
  if (kind == SourceKind::lark && name == "grammars") return read_named(value, out.named);
  return unknown(value);
}

Result<json::Document> read_document(std::string_view text, const Limits& limits) {
  return json::read(text, {.bytes = limits.source_bytes, .depth = limits.source_depth});
}

}  // namespace

Result<Options> read_options(std::string_view text, SourceKind kind) {
  Options options;
  if (text.empty()) return options;
  Result<json::Document> document = read_document(text, options.limits);
  if (!document.ok()) return document.status();
  json::Value root = document->root();
  if (!root.is_object()) return wrong(root, "an object");
  for (json::Value value : root) {
    Status status = read_option(value, kind, options);
    if (!status.ok()) return status;
  }
  return options;
}

Result<Limits> read_limits(std::string_view text) {
  Limits limits;
  if (text.empty()) return limits;
  Result<json::Document> document = read_document(text, limits);
  if (!document.ok()) return document.status();
  Status status = read_limits(document->root(), limits);
  if (!status.ok()) return status;
  return limits;
}

std::string default_limits() {
  const Limits limits;
  std::string out = "{";
  for (const LimitField& limit : kLimits) {
    if (out.size() > 1) out += ',';
    put_json(out, limit.name);
    out += ':' + std::to_string(limits.*limit.field);
  }
  return out + '}';
}

Result<std::vector<std::string>> read_strings(std::string_view text, const Limits& limits) {
  Result<json::Document> document = read_document(text, limits);
  if (!document.ok()) return document.status();
  std::vector<std::string> out;
  if (!document->root().is_array()) return wrong(document->root(), "an array of strings");
  for (json::Value value : document->root()) {
    if (!value.is_string()) return wrong(value, "a string");
    out.emplace_back(value.text());
  }
  return out;
}

}  // namespace treadle::wasm
