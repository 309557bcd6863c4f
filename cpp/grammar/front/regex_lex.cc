#include "grammar/front/regex_lex.h"

#include <algorithm>
#include <utility>

#include "grammar/front/regex_unicode.h"

namespace treadle {

Result<RegexOptions> regex_flags(std::string_view flags, RegexOptions options) {
  for (size_t i = 0; i < flags.size(); ++i) {
    switch (flags[i]) {
      case 'i':
        options.ignore_case = true;
        break;
      case 'm':
        options.multiline = true;
        break;
      case 's':
        options.dot_all = true;
        break;
      case 'x':
        options.extended = true;
        break;
      case 'u':
        break;
      default:
        return syntax_error("flags", "unknown flag '" + std::string(1, flags[i]) +
                                         "'; the flags are i, m, s, u and x");
    }
  }
  return options;
}

}  // namespace treadle

namespace treadle::regex {
namespace {

constexpr uint32_t kNothing = UINT32_MAX;
constexpr uint64_t kMaxCount = 0x7FFFFFFF;

bool is_digit(uint32_t c) {
  return c >= '0' && c <= '9';
}
bool is_name(uint32_t c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
         (c >= 0x80 && c != kNothing);
}

}  // namespace

bool Lexer::fail(Reason reason, std::string text, uint32_t offset) {
  if (status.ok()) {
    status = grammar_error(reason, "offset " + std::to_string(offset), std::move(text));
  }
  return false;
}

uint32_t Lexer::peek() const {
  uint32_t c = 0;
  return read_utf8(text_, at_, c) == 0 ? kNothing : c;
}

bool Lexer::take(uint32_t& c) {
  if (done()) return fail(Reason::syntax, "the pattern ends too early; complete it", offset_);
  size_t size = read_utf8(text_, at_, c);
  if (size == 0) return fail(Reason::syntax, "invalid UTF-8; give the pattern as text", offset_);
  at_ += size;
  ++offset_;
  return true;
}

bool Lexer::accept(std::string_view ascii) {
  if (!text_.substr(at_).starts_with(ascii)) return false;
  at_ += ascii.size();
  offset_ += static_cast<uint32_t>(ascii.size());
  return true;
}

void Lexer::skip_extended() {
  if (!flags.extended) return;
  while (!done()) {
    uint32_t c = peek();
    if (c == '#') {
      while (!done() && text_[at_] != '\n') {
        if (!take(c)) return;
      }
    } else if (c == kNothing || !space_set().has(c)) {
      return;
    } else if (!take(c)) {
      return;
    }
  }
}

CharSet Lexer::cased(const CharSet& set) {
  return flags.ignore_case ? close_under_case(set, fuel_) : set;
}

// In a grammar the text of a terminal goes on after it, which an assertion would have to see.
bool Lexer::refuse_assertion(const Token& token) {
  if (!flags.terminal) return true;
  bool anchor = token.kind == Tok::begin || token.kind == Tok::finish;
  return fail(Reason::unsupported,
              anchor ? "a terminal always matches as a whole; remove the anchor"
                     : "\\b and lookaround would look beyond the terminal; use & and ~, as in "
                       "NAME & ~KEYWORD",
              token.offset);
}

bool Lexer::next(Token& token) {
  skip_extended();
  token = Token{};
  token.offset = offset_;
  if (!status.ok()) return false;
  if (done()) return true;
  uint32_t c = 0;
  if (!take(c)) return false;
  if (!fuel_.spend()) {
    status = fuel_.status();
    return false;
  }
  switch (c) {
    case '^':
      token.kind = Tok::begin;
      return refuse_assertion(token);
    case '$':
      token.kind = Tok::finish;
      return refuse_assertion(token);
    case '|':
      token.kind = Tok::bar;
      return true;
    case ')':
      token.kind = Tok::close;
      return true;
    case '(':
      return group(token);
    case '[':
      return bracket(token);
    case '\\':
      return escape(token);
    case '.':
      token.kind = Tok::set;
      token.set = flags.dot_all ? CharSet::any() : dot_;
      return true;
    case '*':
    case '+':
    case '?':
      return fail(Reason::syntax, "nothing to repeat; put an expression before it", token.offset);
    default:
      break;
  }
  if (c == '{') {
    // A brace that does not spell a quantifier is a plain character (annex B).
    Place here = place();
    go_back({here.at - 1, here.offset - 1});
    Bounds bounds;
    if (quantifier(bounds)) {
      return fail(Reason::syntax, "nothing to repeat; write \\{ for a brace", token.offset);
    }
    if (!status.ok()) return false;
    go_back(here);
  }
  token.kind = Tok::symbol;
  token.c = c;
  return true;
}

bool Lexer::count(uint64_t& value) {
  if (!is_digit(peek())) return false;
  value = 0;
  uint32_t c = 0;
  while (is_digit(peek()) && take(c)) value = std::min(kMaxCount + 1, value * 10 + (c - '0'));
  return true;
}

bool Lexer::quantifier(Bounds& bounds) {
  skip_extended();
  Place start = place();
  uint64_t lo = 0;
  uint64_t hi = 0;
  if (accept("*")) {
    bounds = {0, kOpen};
  } else if (accept("+")) {
    bounds = {1, kOpen};
  } else if (accept("?")) {
    bounds = {0, 1};
  } else if (accept("{")) {
    bool open = false;
    bool low = count(lo);
    bool shaped = low || (flags.terminal && peek() == ',');
    hi = lo;
    if (shaped && accept(",")) open = !count(hi);
    shaped &= low || !open;  // {,} is no repetition
    if (!shaped || !accept("}")) {
      go_back(start);
      return false;
    }
    if (lo > kMaxCount || (!open && hi > kMaxCount)) {
      return fail(Reason::unsupported, "a repetition count is above 2147483647; lower it",
                  start.offset);
    }
    if (!open && lo > hi) {
      return fail(Reason::syntax, "the bounds of a repetition are out of order; swap them",
                  start.offset);
    }
    bounds = {static_cast<uint32_t>(lo), open ? kOpen : static_cast<uint32_t>(hi)};
  } else {
    return false;
  }
  accept("?");  // lazy or greedy, the language is the same
  return true;
}

bool Lexer::group(Token& token) {
  uint32_t start = token.offset;
  token.kind = Tok::open;
  token.flags = flags;
  if (!accept("?")) return true;
  if (accept(":")) return true;
  for (bool behind : {false, true}) {
    for (bool negative : {false, true}) {
      std::string_view mark = behind ? (negative ? "<!" : "<=") : (negative ? "!" : "=");
      if (!accept(mark)) continue;
      token.kind = Tok::look;
      token.behind = behind;
      token.negative = negative;
      return refuse_assertion(token);
    }
  }
  if (accept(flags.terminal ? "P<" : "<") || accept("<")) return group_name(start);
  uint32_t c = peek();
  if (c == 'i' || c == 'm' || c == 's' || c == '-') return modifiers(token, start);
  return refuse_group(start);
}

bool Lexer::group_name(uint32_t start) {
  uint32_t c = peek();
  if (!is_name(c) || is_digit(c)) {
    return fail(Reason::syntax, "a group name must begin with a letter; rename the group", start);
  }
  while (is_name(peek())) {
    if (!take(c)) return false;
  }
  if (accept(">")) return true;
  return fail(Reason::syntax, "a group name is not closed; write (?<name>...)", start);
}

bool Lexer::modifiers(Token& token, uint32_t start) {
  bool value = true;
  while (!done()) {
    uint32_t c = 0;
    if (!take(c)) return false;
    if (c == ':') return true;
    if (c == ')') {
      return fail(Reason::unsupported,
                  "a modifier without a group is not ECMA-262; write (?i:...) or give flags",
                  start);
    }
    if (c == '-' && value) {
      value = false;
    } else if (c == 'i') {
      token.flags.ignore_case = value;
    } else if (c == 'm') {
      token.flags.multiline = value;
    } else if (c == 's') {
      token.flags.dot_all = value;
    } else {
      break;
    }
  }
  return fail(Reason::syntax, "malformed modifiers; write (?ims-ims:...)", start);
}

bool Lexer::refuse_group(uint32_t start) {
  switch (peek()) {
    case 'P':
      return fail(Reason::unsupported, "(?P is not ECMA-262; write (?<name>...)", start);
    case '>':
      return fail(Reason::unsupported, "atomic groups are not supported; use (?:...)", start);
    case '(':
      return fail(Reason::unsupported, "conditionals are not supported; write out both cases",
                  start);
    case '#':
      return fail(Reason::unsupported, "(?# comments are not ECMA-262; remove the comment", start);
    case 'R':
    case '&':
      return fail(Reason::unsupported, "recursion is not supported; use an EBNF grammar", start);
    default:
      return fail(is_digit(peek()) ? Reason::unsupported : Reason::syntax,
                  "unknown kind of group after (?; use (?:, (?=, (?!, (?<=, (?<! or (?<name>",
                  start);
  }
}

}  // namespace treadle::regex
