// JSON Schema front end: a schema becomes one lazily expanded rule of the IR.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/front/json_read.h"
#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "grammar/typed/layout.h"
#include "grammar/typed/num.h"
#include "grammar/typed/str.h"
#include "support/result.h"

namespace treadle {

// Something a caller should know about a source: an unknown keyword or format that was taken as
// an annotation, a keyword that `lenient` dropped, a format of which only a subset is offered.
struct Note {
  std::string at;  // JSON pointer of the keyword
  std::string keyword;
  std::string text;
};
using Notes = std::vector<Note>;

struct Style;

struct SchemaOptions {
  // false: keys in any order, which is the schema's own language. true: declared keys in the order
  // of `properties`, then the others.
  //
  // Either way a declared key, in whatever spelling, occurs once. Two undeclared keys may be equal:
  // remembering their texts would make every prefix of a key a state of its own. A repeated key
  // obeys the schema, counts towards `maxProperties` and not towards `minProperties`, so what a
  // reader that keeps either occurrence sees is valid.
  bool declared_order = false;
  uint32_t whitespace = kUsualSpace;  // longest run of optional whitespace; 0 = none
  std::optional<Layout> layout;       // fixed whitespace instead
  Escapes escapes = Escapes::any;
  Spelling numbers = Spelling::any;
  bool lenient = false;        // drop what cannot be enforced and say so in the notes
  bool assert_formats = true;  // false: `format` is an annotation
  // Formats of which only a subset can be offered are refused.
  bool exact_formats = false;
  // Keys and items that no schema for the same value mentions are forbidden where some are
  // mentioned: by `properties`, `patternProperties`, `required` or a list of items. A schema that
  // says what others are (`additionalProperties`, `items`, `unevaluated...`) is taken at its word.
  bool closed = false;
  // URIs and the schemas (JSON) that references to them lead to. Nothing is ever fetched.
  std::vector<std::pair<std::string, std::string>> resources;
  const Style* style = nullptr;       // how the value, an object, is written; null: JSON
  std::vector<std::string> excludes;  // texts that no string and no key may contain, as spelled
  bool begun = false;                 // the first rules at once, not when a text gets there
  std::string at;                     // prefix of every pointer in errors and notes
};

// The language of the JSON texts that satisfy the schema. Whitespace may precede the value, none
// follows it. Every keyword is enforced or refused: GrammarError with the keyword, its pointer and
// reason `unsupported` (or a note, if lenient), `unsatisfiable` when nothing satisfies the schema,
// `syntax` when it is malformed. Source: JSON Schema 2020-12 (core, validation), older drafts for
// their spellings.
Result<NodeRef> parse_schema(Store& store, std::string_view json, const SchemaOptions& options,
                             const Limits& limits, Notes& notes);
// The same for a schema inside another document, which need not outlive the call.
Result<NodeRef> parse_schema(Store& store, const json::Value& schema, const SchemaOptions& options,
                             const Limits& limits, Notes& notes);

// Any JSON object.
Result<NodeRef> parse_json_object(Store& store, const SchemaOptions& options, const Limits& limits);

}  // namespace treadle
