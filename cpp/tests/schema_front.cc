// A schema inside another document: the same language, pointers under its own prefix.
#include <memory>
#include <string>

#include "check.h"
#include "grammar/front/schema.h"
#include "grammar/run/state.h"

using namespace treadle;
using namespace treadle::test;

namespace {

constexpr std::string_view kOuter = R"({"tools": [{"name": "f", "parameters": {
  "$defs": {"n": {"type": "integer", "minimum": 1}, "bad": {"uniqueItems": true}},
  "type": "object",
  "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"type": "array", "items": {"$ref": "#"}}},
  "required": ["a"], "additionalProperties": false}}]})";

bool accepts(States& states, std::string_view text) {
  StateId state = states.start();
  for (const char byte : text) {
    Fuel fuel("step_fuel", 1'000'000);
    state = states.next(state, static_cast<uint8_t>(byte), fuel);
    if (state == kDeadState || state == kFault) return false;
  }
  return states.accepting(state);
}

void embedded_schema_keeps_its_meaning() {
  auto store = std::make_unique<Store>();
  Result<NodeRef> root = unsupported("", "");
  Notes notes;
  {
    const Result<json::Document> outer = json::read(kOuter, {});
    check(outer.ok());
    const json::Value schema = outer->root().get("tools").item(0).get("parameters");
    root = parse_schema(*store, schema, SchemaOptions{}, Limits{}, notes);
  }  // the outer document is gone: the grammar has its own copy
  if (!check(root.ok())) return;
  States states(std::move(store), Limits{});
  check(states.start(*root).ok());
  check(accepts(states, R"({"a": 1, "b": [{"a": 2}, {"b": [], "a": 1.0e1}]})"));
  for (const char* text : {"{}", R"({"a": 0})", R"({"a": 1, "b": [{}]})", R"({"a": 1, "c": 1})",
                           R"({"a": 1} )", R"({"a": 1,})"}) {
    check(!accepts(states, text), text);
  }
}

void pointers_start_at_the_prefix() {
  Store store;
  Notes notes;
  SchemaOptions options;
  options.at = "/tools/0/parameters";
  const Result<NodeRef> root = parse_schema(
      store, R"({"properties": {"x": {"uniqueItems": true}}})", options, Limits{}, notes);
  check(!root.ok() && root.status().at == "/tools/0/parameters/properties/x/uniqueItems");
  check(root.status().keyword == "uniqueItems" && root.status().reason == Reason::unsupported);
}

void any_object() {
  auto store = std::make_unique<Store>();
  const Result<NodeRef> root = parse_json_object(*store, SchemaOptions{}, Limits{});
  if (!check(root.ok())) return;
  States states(std::move(store), Limits{});
  check(states.start(*root).ok());
  check(accepts(states, R"( {"\u00e9\n": [1e5, {"": null}], "x": "\ud83d\ude00"})"));
  check(!accepts(states, "[]") && !accepts(states, "{\"a\":\"\\ud83d\"}"));
}

}  // namespace

int main() {
  embedded_schema_keeps_its_meaning();
  pointers_start_at_the_prefix();
  any_object();
  return report();
}
