#include "grammar/front/special.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "grammar/front/cursor.h"

namespace treadle {
namespace {

constexpr std::array<std::string_view, 12> kOptions = {"max_tokens",
                                                       "max_chars",
                                                       "capture",
                                                       "lazy",
                                                       "temperature",
                                                       "stop",
                                                       "suffix",
                                                       "stop_capture",
                                                       "capture_hidden_suffix_bytes",
                                                       "capture_hidden_stop_bytes",
                                                       "capture_hidden_body_rule_id",
                                                       "capture_hidden_marker_rule_id"};

constexpr uint32_t kMostIds = 1u << 20;  // of tokens that one terminal may name

bool is_word(char c) {
  return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '.' || c == '+';
}

size_t skip_blank(std::string_view text, size_t at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) ++at;
  return at;
}

size_t skip_word(std::string_view text, size_t at) {
  while (at < text.size() && is_word(text[at])) ++at;
  return at;
}

// The end of a text between two `mark`s on one line, with backslash escapes; 0 if it is not closed.
size_t skip_quoted(std::string_view text, size_t at, char mark) {
  for (++at; at < text.size() && text[at] != '\n'; ++at) {
    if (text[at] == mark) return at + 1;
    if (text[at] == '\\') ++at;
  }
  return 0;
}

size_t skip_value(std::string_view text, size_t at) {
  if (at >= text.size()) return 0;
  if (text[at] == '"') return skip_quoted(text, at, '"');
  if (text[at] == '/') {
    size_t end = skip_quoted(text, at, '/');
    return end == 0 ? 0 : skip_word(text, end);
  }
  if (text[at] == '<') {
    size_t size = token_terminal_size(text.substr(at));
    return size == 0 ? 0 : at + size;
  }
  size_t end = skip_word(text, at);
  return end == at ? 0 : end;
}

// `[...]` of a token terminal: `*`, or ids and ranges, all of them perhaps after a caret.
bool read_ids(std::string_view ids, TokenSet& set) {
  set.negated = ids == "*" || ids.starts_with('^');
  if (ids == "*") return true;
  if (set.negated) ids.remove_prefix(1);
  auto number = [&](uint32_t& value) {
    size_t digits = 0;
    value = 0;
    while (digits < ids.size() && is_digit(ids[digits])) {
      value = std::min(value * 10 + static_cast<uint32_t>(ids[digits++] - '0'), kMostIds);
    }
    ids.remove_prefix(digits);
    return digits > 0 && value < kMostIds;
  };
  while (true) {
    uint32_t lo = 0;
    if (!number(lo)) return false;
    uint32_t hi = lo;
    if (ids.starts_with('-')) {
      ids.remove_prefix(1);
      if (!number(hi) || hi < lo) return false;
    }
    if (set.ids.size() + (hi - lo) >= kMostIds) return false;
    for (uint32_t id = lo; id <= hi; ++id) set.ids.push_back(id);
    if (ids.empty()) return true;
    if (!ids.starts_with(',')) return false;
    ids.remove_prefix(1);
    while (ids.starts_with(' ')) ids.remove_prefix(1);
  }
}

}  // namespace

size_t token_terminal_size(std::string_view text) {
  size_t at = text.starts_with('!') ? 1 : 0;
  if (at >= text.size() || text[at] != '<') return 0;
  size_t end = text.find_first_of(">\n", at);
  return end == std::string_view::npos || text[end] == '\n' ? 0 : end + 1;
}

Result<NodeRef> lower_token_terminal(Store& store, std::string_view spelled, std::string at) {
  const bool any_but = spelled.starts_with('!');
  if (any_but) spelled.remove_prefix(1);
  std::string_view inside = spelled.substr(1, spelled.size() - 2);
  TokenSet set;
  bool good = !inside.empty();
  if (inside.starts_with('[') && inside.ends_with(']')) {
    good = read_ids(inside.substr(1, inside.size() - 2), set);
  } else {
    set.names.emplace_back(spelled);
  }
  if (!good) {
    return syntax_error(std::move(at),
                        "a malformed token terminal; write <name>, <[1,3-8]>, <[^1]> or <[*]>, "
                        "with ids below 1048576");
  }
  set.negated ^= any_but;
  return store.tokens(std::move(set));
}

size_t each_rule_option(std::string_view text,
                        const std::function<void(std::string_view, std::string_view)>& option) {
  if (!text.starts_with('[')) return 0;
  size_t at = skip_blank(text, 1);
  while (at < text.size() && text[at] != ']') {
    size_t end = skip_word(text, at);
    if (end == at) return 0;
    std::string_view name = text.substr(at, end - at);
    std::string_view value;
    at = skip_blank(text, end);
    if (at < text.size() && text[at] == '=') {
      size_t begin = skip_blank(text, at + 1);
      at = skip_value(text, begin);
      if (at == 0) return 0;
      value = text.substr(begin, at - begin);
      at = skip_blank(text, at);
    }
    option(name, value);
    if (at < text.size() && text[at] == ',') {
      at = skip_blank(text, at + 1);
    } else if (at >= text.size() || text[at] != ']') {
      return 0;
    }
  }
  return at < text.size() ? at + 1 : 0;
}

namespace {

class Quoted : public Cursor {
 public:
  using Cursor::Cursor;
  bool read(std::string& out) { return accept("\"") && quoted(out, 1, 1) && done(); }
};

}  // namespace

bool read_quoted(std::string_view spelled, std::string& out) {
  Fuel fuel("compile_fuel", 4 * (spelled.size() + 1));
  return Quoted(spelled, fuel).read(out);
}

bool is_rule_option(std::string_view name) {
  return std::find(kOptions.begin(), kOptions.end(), name) != kOptions.end();
}

size_t rule_options_size(std::string_view text) {
  return each_rule_option(text, [](std::string_view, std::string_view) {});
}

}  // namespace treadle
