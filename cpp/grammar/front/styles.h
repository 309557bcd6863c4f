// Argument styles: how model families write an object when they do not write JSON.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "grammar/front/schema_form.h"
#include "grammar/typed/object.h"

namespace treadle {

// What an array or object inside a member is written as.
enum class Nesting : uint8_t {
  json,      // JSON
  repeated,  // members again; items one after another, with keys of their own or any
  declared,  // the same, but a member repeats its key at its end, so only declared keys occur
};

// One style is one row of data around the object node. A member is
//     frame.begin KEY key_end [value_begin] [type type_end] VALUE close
// and an item of a nested array the same with `item_begin` for all up to the type, `item_end` for
// the close. Strings are raw text without `barrier`; other values are JSON. White space may stand
// around members and, if `padded`, around JSON values.
struct Style {
  std::string_view name = {};
  ObjectFrame frame;
  std::string_view key_end = {};
  std::string_view value_begin = {};           // after optional white space, unless empty
  std::array<std::string_view, 6> types = {};  // of string, null, boolean, number, array, object
  std::string_view type_end = {};
  std::string_view close = {};
  std::string_view barrier = {};
  Nesting nesting = {};
  bool padded = {};
  bool lined = {};  // one newline on either side of a raw string does not belong to it
  std::string_view item_begin = {};
  std::string_view item_end = {};
};

// The style called `name`, "json" excepted; null for an unknown name.
const Style* find_style(std::string_view name);

namespace schema {

// The values of one form in the style of its source, for a role other than json.
Result<NodeRef> styled_of(Store& store, const SourceRef& source, const Form& form, Place place,
                          bool loose, Fuel& fuel);

// The keys that a style can write, as texts: no markup, no control characters.
NodeRef styled_keys(Store& store);

}  // namespace schema
}  // namespace treadle
