// The formats of a structural tag, read and checked, ready to be lowered.
#pragma once

#include <compare>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "grammar/front/json_read.h"
#include "grammar/ir/node.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle {
struct Style;
}

namespace treadle::tag {

enum class Type : uint8_t {
  const_string,          // text
  regex,                 // text
  grammar,               // text
  json_schema,           // schema, style, any_order, whitespace, excludes
  any_text,              // excludes, hi characters and max_tokens tokens at most
  sequence,              // children
  choice,                // `or`: children
  repeat,                // lo to hi times the child; also optional, plus and star
  tag,                   // begin, the child, ends
  triggered_tags,        // triggers, children = tags, excludes
  tags_with_separator,   // children = tags, separator in begin
  dispatch,              // triggers = patterns, a child each, excludes
  token,                 // tokens; lo to hi of them; also exclude_token and any_tokens
  token_triggered_tags,  // trigger tokens, children = tags, tokens = excluded
  token_dispatch,        // a trigger token and a child each, tokens = excluded
};

inline constexpr uint32_t kNoFormat = UINT32_MAX;

// One token of the vocabulary, by id or by its text.
struct Token {
  uint32_t id = 0;
  std::string name;  // "": the id counts
  auto operator<=>(const Token&) const = default;
};

// What a tag begins or ends with: a text or one token.
struct Mark {
  std::string text;
  Token token;
  bool is_token = false;
};

// What free content runs into. Most formats have none of it.
struct Lists {
  std::vector<std::string> triggers;
  std::vector<std::string> excludes;
  std::vector<Token> trigger_tokens;
  TokenSet tokens;
};

struct Format {
  Type type = Type::const_string;
  json::Value at;                  // where it stands, for pointers in errors
  uint32_t enclosing = kNoFormat;  // the tag around it, whose ends free content must avoid
  std::string text;
  json::Value schema;
  const Style* style = nullptr;  // null: JSON
  bool any_order = false;
  uint32_t whitespace = 0;
  Mark begin;
  std::vector<Mark> ends;
  std::vector<uint32_t> children;
  uint32_t lo = 0;
  uint32_t hi = 0;
  uint32_t max_tokens = kOpen;  // any_text
  bool at_least_one = false;
  bool stop_after_first = false;

  Lists& lists() {
    if (!lists_) lists_ = std::make_unique<Lists>();
    return *lists_;
  }
  [[nodiscard]] const Lists& lists() const {
    static const Lists none;
    return lists_ ? *lists_ : none;
  }

 private:
  std::unique_ptr<Lists> lists_;
};

using Formats = std::deque<Format>;  // many are large, and a vector would hold them twice

// Formats in an order where every child comes after its parent; the first is the root. Unknown
// fields and formats are errors at their JSON pointer. Source: section 3.5 of the grammar design.
Result<Formats> read_formats(const json::Value& tag, const Limits& limits);

}  // namespace treadle::tag
