// JSON strings whose decoded text lies in a regular language, in every spelling.
#pragma once

#include <cstdint>
#include <string_view>

#include "grammar/ir/node.h"

namespace treadle {

class Store;

// What may stand between the quotes so that the decoded text, as UTF-8, matches the regular node
// `text`: raw characters, short escapes, \u escapes, surrogate pairs. empty() when `text` is.
NodeRef string_content(Store& store, NodeRef text);

// Whether a regular node has a member. A spent budget becomes the store's fault, and false.
bool has_member(Store& store, NodeRef node);

// One code point in every spelling (a plain node).
NodeRef spelled_char(Store& store, uint32_t code);

// Any one character of a JSON string in every spelling (a plain node).
NodeRef spelled_any(Store& store);

}  // namespace treadle
