// JSON strings whose decoded text lies in a regular language, in every spelling.
#pragma once

#include <cstdint>
#include <string_view>

#include "grammar/ir/node.h"

namespace treadle {

class Store;

// Which spellings of a character a JSON string may use. `minimal`: itself, where RFC 8259 lets it
// stand raw; else the short escape; else \u00XX.
enum class Escapes : uint8_t { any, minimal };

// What may stand between the quotes so that the decoded text, as UTF-8, matches the regular node
// `text`: raw characters, short escapes, \u escapes, surrogate pairs. empty() when `text` is.
NodeRef string_content(Store& store, NodeRef text, Escapes escapes = Escapes::any);

// For a leaf of string_content() that stands between two characters: the language of the rest of
// the decoded text. empty() for every other node.
NodeRef raw_text(const Store& store, NodeRef node);

// Whether the characters of such a leaf may be spelled in every way.
bool any_escapes(const Store& store, NodeRef leaf);

// The same leaf with another language of the rest.
NodeRef with_text(Store& store, NodeRef leaf, NodeRef text);

// Whether a regular node has a member. A spent budget becomes the store's fault, and false.
bool has_member(Store& store, NodeRef node);

// Any one character of a JSON string in every spelling (a plain node).
NodeRef spelled_any(Store& store, Escapes escapes = Escapes::any);

}  // namespace treadle
