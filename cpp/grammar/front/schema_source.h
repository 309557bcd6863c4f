// A schema document with everything that is worked out about it once: references, patterns,
// conjunctions of sub-schemas, their nodes. Typed nodes of the IR share it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "grammar/front/json_read.h"
#include "grammar/front/schema.h"
#include "grammar/front/schema_keyword.h"
#include "grammar/ir/store.h"
#include "support/result.h"

namespace treadle::schema {

// One condition on a value: a JSON node of the document, read in one of these ways.
enum class As : uint8_t {
  schema,    // the value satisfies it
  refuted,   // the value does not satisfy it
  literal,   // the value equals it
  trunk,     // the value satisfies it, `oneOf` left out
  keyword,   // the value does not satisfy the keyword whose argument this node is
  violated,  // the value has the member or item that this node describes, and it does not satisfy
             // it
  absent,    // the value, if an object, lacks the key: this node is a string or has that name
  missing,   // the value is an object and lacks the key
  present,   // the value is an object and has the key
  differs,   // the value does not equal it
  changed,   // the value has a member or item in this node's place, and it does not equal it
  reshaped,  // the value is not an array or object, as this node is
  shorter,   // the value is an array with fewer items than this node
  longer,    // the value is an array with more items, or an object with a key that this node lacks
  some,      // the value has a key or item that this node governs and that does not satisfy it
  fewer,     // the value is an array with fewer items that satisfy this `contains` than it wants
  more,      // likewise with more
};

struct Sub {
  uint32_t node = 0;
  As as = As::schema;
  auto operator<=>(const Sub&) const = default;
};

// A conjunction: sorted, without repetitions. Empty = any value.
using Conj = std::vector<Sub>;

// Where a value stands in an object that is written in another style than JSON.
enum class Role : uint8_t {
  json,    // written as JSON
  top,     // the object itself
  member,  // a member's value, with the text from its key on
  item,    // an item of an array in a style that nests
};

struct Place {
  Role role = Role::json;
  uint32_t depth = 0;  // arrays and objects around it, where lines are indented by them; else 0
  auto operator<=>(const Place&) const = default;
};

void add_sub(Conj& conj, Sub sub);  // keeps it sorted

// Whether the schema is `true` or {}.
inline bool says_nothing(json::Value schema) {
  return (schema.is_boolean() && schema.truth()) || (schema.is_object() && schema.size() == 0);
}

class Source {
 public:
  // `serial`: tells the schemas of one store apart, for hashes.
  Source(json::Document document, SchemaOptions chosen, uint32_t serial)
      : doc(std::move(document)), options(std::move(chosen)), serial(serial) {}

  [[nodiscard]] json::Value at(uint32_t node) const { return {&doc, node}; }
  [[nodiscard]] json::Value root() const { return at(0); }
  // The pointer of a node in the caller's document, or "URI#pointer" in one of its resources.
  [[nodiscard]] std::string pointer(json::Value value) const;
  // The node of the caller's document that this one is a copy of, or itself.
  [[nodiscard]] uint32_t original(uint32_t node) const {
    const auto size = static_cast<uint32_t>(doc.nodes.size() - originals.size());
    return node < size ? node : originals[node - size];
  }
  // Up to draft 7 a `$ref` hides its siblings.
  [[nodiscard]] bool ref_hides(json::Value schema) const {
    return dialect <= Dialect::draft7 && schema.get("$ref");
  }
  // Whether a keyword has no effect here: dropped by `lenient`, or not of this dialect.
  [[nodiscard]] bool ignored(json::Value argument) const {
    return dropped.contains(argument.index());
  }
  // The member of `properties` (or another object) called `name`; indexed when large.
  json::Value member(json::Value object, std::string_view name) const;
  // The texts that a pattern or format asks for; nothing if it is not enforced.
  std::optional<NodeRef> text_at(Store& store, json::Value argument);
  // Whether it is plain to see that some value satisfies the schema, so that nobody need expand it
  // to find out. Never true of a schema without values; false where it is not plain.
  bool sure(const Store& store, uint32_t node) { return sure(store, node, 0); }

  // The node for every value that meets the conjunction: shared, expanded when first reached.
  // `loose` reads oneOf as anyOf; it serves proofs that two schemas have nothing in common.
  NodeRef value(Store& store, const std::shared_ptr<Source>& self, Conj conj, bool loose,
                Place place = {});
  // Around the items of an array or object that stands there, and where its items stand.
  [[nodiscard]] Spacing spacing(Store& store, Place place) const {
    return spacing_of(store, options.whitespace, options.layout, place.depth);
  }
  [[nodiscard]] Place inside(Place place) const {
    if (options.layout && options.layout->indent) ++place.depth;
    return place;
  }

  static constexpr NodeRef kLater = UINT32_MAX;

  // What strings and keys must match as spelled; empty() if there is nothing. Proofs (`loose`) are
  // about values, however these are spelled.
  [[nodiscard]] NodeRef spelling(bool loose) const { return loose ? 0 : barred; }

  json::Document doc;
  SchemaOptions options;
  const uint32_t serial;
  Dialect dialect = Dialect::any;
  uint8_t left_out = 0;  // vocabularies that the meta-schema leaves out (schema_vocabulary.h)
  NodeRef barred = 0;    // texts without options.excludes; empty() if there are none
  std::map<uint32_t, std::string> resources;  // roots of documents that references led to -> URI
  std::vector<uint32_t> originals;  // of the nodes that were copied for another dynamic scope
  std::unordered_map<uint32_t, uint32_t> refs;         // argument of $ref -> target
  std::unordered_map<uint32_t, NodeRef> texts;         // argument of pattern, format -> language,
                                                       // or kLater: a format not worked out yet
  std::unordered_map<uint32_t, NodeRef> key_patterns;  // member of patternProperties -> language
  std::unordered_set<uint32_t> dropped;                // arguments without effect
  // Whether the truth of this argument of anyOf or if, or member of anyOf, decides what is
  // evaluated for a keyword that is enforced.
  [[nodiscard]] bool decides(uint32_t node) const {
    const auto found = traced.find(node);
    if (found == traced.end()) return false;
    return std::any_of(found->second.begin(), found->second.end(),
                       [&](uint32_t argument) { return !dropped.contains(argument); });
  }

  std::unordered_map<uint32_t, std::vector<uint32_t>> traced;  // such a node -> unevaluated...
  // oneOf member -> the members that may hold at the same time, to be refuted beside it.
  std::unordered_map<uint32_t, std::vector<uint32_t>> rivals;

 private:
  struct Outline;
  bool sure(const Store& store, uint32_t node, uint32_t depth);
  bool look(const Store& store, json::Value schema, uint32_t depth);
  bool fits(const Store& store, const Outline& outline, uint32_t depth);
  bool has_text(const Store& store, const Outline& outline) const;
  bool has_array(const Store& store, const Outline& outline, uint32_t depth);
  bool has_object(const Store& store, const Outline& outline, uint32_t depth);

  std::map<std::tuple<Conj, bool, Place>, NodeRef> values_;
  mutable std::unordered_map<uint32_t, std::unordered_map<std::string_view, uint32_t>> members_;
  std::unordered_map<std::string, NodeRef> formats_;
  std::vector<uint8_t> sure_;  // by node: 0 not asked yet, 1 no, 2 yes
};

using SourceRef = std::shared_ptr<Source>;

}  // namespace treadle::schema
