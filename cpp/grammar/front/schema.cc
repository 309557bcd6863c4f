#include "grammar/front/schema.h"

#include <memory>
#include <utility>

#include "grammar/front/fuel_scope.h"
#include "grammar/front/schema_check.h"
#include "grammar/front/schema_index.h"
#include "grammar/front/schema_resource.h"
#include "grammar/front/schema_source.h"
#include "grammar/front/schema_vocabulary.h"
#include "grammar/front/styles.h"
#include "grammar/typed/dispatch.h"

namespace treadle {
namespace {

// Expands the first rules that a value is made of, in the order in which a text may come to them.
// What fails here fails again for the text that gets there.
void read_ahead(Store& store, NodeRef value) {
  constexpr size_t kRules = 8;       // as far as the second member of an object
  constexpr uint64_t kCost = 4'000;  // about 0.1 ms
  Fuel* const outer = store.fuel();
  Fuel fuel("compile_fuel", kCost);
  store.set_fuel(&fuel);
  std::vector<NodeRef> open{value};
  for (size_t rules = 0; rules < kRules && !open.empty();) {
    const NodeRef ref = open.back();
    const Node node = store.node(ref);
    open.pop_back();
    if (node.kind == Kind::concat) {
      open.push_back(node.b);
      open.push_back(node.a);
    } else if (node.kind == Kind::any_of) {
      for (const NodeRef choice : store.children(ref)) {
        if (!store.regular(choice)) open.push_back(choice);
      }
    } else if (node.kind == Kind::rule) {
      const Result<NodeRef> body = store.body(ref, fuel);
      if (!body) break;
      open.push_back(*body);
      ++rules;
    }
  }
  store.set_fuel(outer);
  static_cast<void>(store.take_fault());
}

Result<NodeRef> parse_document(Store& store, json::Document document, const SchemaOptions& options,
                               const Limits& limits, Notes& notes) {
  if (options.layout) {
    if (Status status = check_layout(*options.layout, limits.whitespace); !status.ok())
      return status;
  }
  FuelScope scope(store, limits);
  const auto source = std::make_shared<schema::Source>(std::move(document), options, store.size());
  if (source->root().is_object()) {
    if (Status status = schema::read_dialect(*source, limits); !status.ok()) return status;
  }
  if (Status status = schema::add_resources(*source, limits); !status.ok()) return status;
  const schema::Index index(*source);
  if (!index.duplicate().empty()) {
    return syntax_error(options.at, "the anchor \"" + index.duplicate() + "\" stands twice",
                        "$anchor");
  }
  if (!options.excludes.empty()) source->barred = free_text(store, options.excludes);
  schema::Checker checker(store, source, index, limits, notes, scope.fuel());
  if (Status status = checker.run(); !status.ok()) return status;
  const schema::Conj whole{schema::Sub{0, schema::As::schema}};
  const schema::Role role = options.style == nullptr ? schema::Role::json : schema::Role::top;
  const NodeRef value = source->value(store, source, whole, false, {role});
  const Result<bool> live = store.live(value, scope.fuel());
  if (!live) return live.status();
  if (!store.ok()) return store.fault();
  if (!*live) {
    return unsatisfiable(options.at, "no value satisfies the schema; loosen its constraints");
  }
  if (options.style != nullptr) {
    if (options.style->nesting == Nesting::declared) {
      notes.push_back({options.at, "style",
                       "keys that the schema does not name are not offered in this style"});
    }
    // The members may be none at all, which a rule cannot say.
    const Result<NodeRef> members = store.body(value, scope.fuel());
    return members ? scope.close(*members) : members;
  }
  if (options.begun && store.ok()) read_ahead(store, value);
  return scope.close(store.cat(source->spacing(store, {}).any, value));
}

// The subtree of `value` as a document of its own.
json::Document copy_of(json::Value value) {
  json::Document out;
  struct Open {
    json::Value from;
    uint32_t parent;
    uint32_t before;  // the sibling before it
  };
  std::vector<Open> open{{value, json::kNone, json::kNone}};
  while (!open.empty()) {
    const Open next = open.back();
    open.pop_back();
    const auto index = static_cast<uint32_t>(out.nodes.size());
    json::Node node;
    node.kind = next.from.kind();
    node.truth = node.kind == json::Kind::boolean && next.from.truth();
    node.parent = next.parent;
    node.count = next.from.size();
    node.text = static_cast<uint32_t>(out.text.size());
    node.text_size = static_cast<uint32_t>(next.from.text().size());
    out.text += next.from.text();
    if (next.parent != json::kNone) {
      node.key = static_cast<uint32_t>(out.text.size());
      node.key_size = static_cast<uint32_t>(next.from.key().size());
      out.text += next.from.key();
      if (next.before == json::kNone) {
        out.nodes[next.parent].first = index;
      } else {
        out.nodes[next.before].next = index;
      }
    }
    out.nodes.push_back(node);
    // Preorder: the first child comes right after its parent, then its siblings.
    const auto sibling = next.from.next();
    if (next.parent != json::kNone && sibling) open.push_back({sibling, next.parent, index});
    if (const json::Value child = next.from.first()) open.push_back({child, index, json::kNone});
  }
  return out;
}

}  // namespace

Result<NodeRef> parse_schema(Store& store, std::string_view json, const SchemaOptions& options,
                             const Limits& limits, Notes& notes) {
  Result<json::Document> document = json::read(
      json, {static_cast<size_t>(limits.source_bytes), static_cast<size_t>(limits.source_depth)});
  if (!document) return document.status();
  return parse_document(store, document.take(), options, limits, notes);
}

Result<NodeRef> parse_schema(Store& store, const json::Value& schema, const SchemaOptions& options,
                             const Limits& limits, Notes& notes) {
  return parse_document(store, copy_of(schema), options, limits, notes);
}

Result<NodeRef> parse_json_object(Store& store, const SchemaOptions& options,
                                  const Limits& limits) {
  Notes notes;
  return parse_schema(store, R"({"type":"object"})", options, limits, notes);
}

}  // namespace treadle
