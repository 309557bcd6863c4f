// Options that come as one JSON object; an unknown or misplaced one is an error that names it.
#pragma once

#include <string_view>

#include "bind/reading.h"

namespace treadle::wasm {

struct Options {
  Limits limits;
  SchemaOptions schema;
  std::string root;                // ebnf, lark
  std::vector<std::string> named;  // lark: names and texts of its named grammars
};

// What `kind` may be given, beside "limits": json, json_object and json_schema: whitespace, indent,
// separators, escapes, numbers; json_schema: order, lenient, formats, closed, resources (an object
// of texts), at; ebnf: root; lark: root, grammars (an object of texts). Empty text stands for no
// options.
Result<Options> read_options(std::string_view text, SourceKind kind);

// A JSON object of limits, for what has no kind.
Result<Limits> read_limits(std::string_view text);

// The limits that hold unless the caller says otherwise, as JSON.
std::string default_limits();

// A JSON array of strings.
Result<std::vector<std::string>> read_strings(std::string_view text, const Limits& limits);

}  // namespace treadle::wasm
