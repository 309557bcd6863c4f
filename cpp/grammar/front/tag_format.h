// The formats of a structural tag, read and checked, ready to be lowered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "grammar/front/json_read.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle::tag {

enum class Type : uint8_t {
  const_string,         // text
  regex,                // text
  grammar,              // text
  json_schema,          // schema, any_order, whitespace
  any_text,             // excludes
  sequence,             // children
  choice,               // `or`: children
  repeat,               // lo to hi times the child; also optional, plus and star
  tag,                  // text = begin, the child, ends
  triggered_tags,       // triggers, children = tags, excludes
  tags_with_separator,  // children = tags, text = separator
};

inline constexpr uint32_t kNoFormat = UINT32_MAX;

struct Format {
  Type type = Type::const_string;
  json::Value at;                  // where it stands, for pointers in errors
  uint32_t enclosing = kNoFormat;  // the tag around it, whose ends free text must avoid
  std::string text;
  json::Value schema;
  bool any_order = false;
  uint32_t whitespace = 0;
  std::vector<std::string> ends;
  std::vector<std::string> triggers;
  std::vector<std::string> excludes;
  std::vector<uint32_t> children;
  uint32_t lo = 0;
  uint32_t hi = 0;
  bool at_least_one = false;
  bool stop_after_first = false;
};

// Formats in an order where every child comes after its parent; the first is the root. Unknown
// fields and formats are errors at their JSON pointer. Source: section 3.5 of the grammar design.
Result<std::vector<Format>> read_formats(const json::Value& tag, const Limits& limits);

}  // namespace treadle::tag
