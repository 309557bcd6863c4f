#include "grammar/front/lark_lex.h"

#include <array>

#include "grammar/front/special.h"

namespace treadle::lark {
namespace {

bool begins_name(char c) {
  return is_letter(c) || c == '_';
}
bool in_name(char c) {
  return begins_name(c) || is_digit(c);
}

}  // namespace

// Blanks, line ends and comments; `fresh` says whether a line began among them.
bool Lexer::skip_blank(bool& fresh) {
  uint32_t c = 0;
  while (!done()) {
    if (look() == '#' || rest().starts_with("//")) {
      if (!skip_line()) return false;
    } else if (look() == ' ' || look() == '\t' || look() == '\r' || look() == '\n') {
      fresh |= look() == '\n';
      if (!take(c)) return false;
    } else {
      break;
    }
  }
  return true;
}

bool Lexer::bounds_next() {
  bool fresh = false;
  return skip_blank(fresh) && (is_digit(look()) || look() == ',');
}

bool Lexer::next(Token& token) {
  token = Token{};
  token.first = !began_;
  if (!skip_blank(token.first) || !status.ok()) return false;
  began_ = true;
  token.line = line_;
  token.column = column_;
  if (done()) return true;
  if (!spend()) return false;
  char c = look();
  if (begins_name(c)) {
    token.kind = Tok::name;
    // A dash belongs to the name, but the arrow does not.
    while (in_name(look()) || (look() == '-' && !rest().starts_with("->"))) {
      token.text += look();
      step();
    }
    return true;
  }
  bool sign = (c == '-' || c == '+') && rest().size() > 1 && is_digit(rest()[1]);
  if (is_digit(c) || sign) return number(token);
  if (accept("\"")) {
    token.kind = Tok::string;
    if (!quoted(token.text, token.line, token.column)) return false;
    bool cased = look() == 'i' && !(rest().size() > 1 && in_name(rest()[1]));
    if (cased && accept("i")) token.flags = "i";
    return true;
  }
  if (accept("/")) return regex(token);
  if (accept("%")) return directive(token);
  if (accept("@")) {
    token.kind = Tok::named;
    while (in_name(look()) || look() == '-') {
      token.text += look();
      step();
    }
    return !token.text.empty() || fail_at(Reason::syntax, "@ needs a name of a grammar", token);
  }
  if (size_t size = token_terminal_size(rest()); size > 0) {
    token.kind = Tok::token;
    token.text = rest().substr(0, size);
    return skip(size);
  }
  token.kind = Tok::dots;
  if (accept("..")) return true;
  token.kind = Tok::arrow;
  if (accept("->")) return true;
  token.kind = Tok::params;
  if (accept("::")) return true;
  token.kind = Tok::mark;
  token.mark = c;
  constexpr std::string_view kMarks = ":|()[]{}*+?~&,.!=";
  if (kMarks.find(c) != std::string_view::npos) return step(), true;
  return fail_at(Reason::syntax, "unexpected character; rules are written name: expression", token);
}

bool Lexer::options(Token& token) {
  size_t size = rule_options_size(rest());
  if (size == 0) return false;
  token = Token{};
  token.kind = Tok::options;
  token.line = line_;
  token.column = column_;
  token.text = rest().substr(0, size);
  return skip(size);
}

bool Lexer::number(Token& token) {
  constexpr uint64_t kMost = UINT64_MAX;
  token.kind = Tok::number;
  token.negative = accept("-");
  if (!token.negative) accept("+");
  uint64_t base = accept("0x") ? 16 : 10;
  bool any = base == 10;
  for (;; any = true) {
    char c = look();
    uint64_t digit = 16;
    if (is_digit(c)) digit = static_cast<uint64_t>(c - '0');
    if (base == 16 && c >= 'a' && c <= 'f') digit = static_cast<uint64_t>(c - 'a' + 10);
    if (base == 16 && c >= 'A' && c <= 'F') digit = static_cast<uint64_t>(c - 'A' + 10);
    if (digit >= base) break;
    if (token.number > (kMost - digit) / base) {
      return fail_at(Reason::syntax, "a number is above 2^64-1; lower it", token);
    }
    token.number = token.number * base + digit;
    step();
  }
  return any || fail_at(Reason::syntax, "0x needs hexadecimal digits", token);
}

// After the opening slash. A slash inside is written \/, in a class too.
bool Lexer::regex(Token& token) {
  token.kind = Tok::regex;
  size_t start = at_;
  uint32_t c = 0;
  while (look() != '/') {
    if (done() || look() == '\n') {
      return fail_at(Reason::syntax, "a regular expression is not closed on its line; add /",
                     token);
    }
    if (accept("\\") && (done() || look() == '\n')) continue;
    if (!take(c)) return false;
  }
  token.text = text_.substr(start, at_ - start);
  accept("/");
  while (look() >= 'a' && look() <= 'z') {
    token.flags += look();
    step();
  }
  return true;
}

bool Lexer::directive(Token& token) {
  token.kind = Tok::directive;
  while (in_name(look())) {
    token.text += look();
    step();
  }
  constexpr std::array<std::string_view, 4> kWithObject = {"json", "regex", "llguidance",
                                                           "grammar_options"};
  for (std::string_view name : kWithObject) {
    if (token.text == name) return object(token.flags, token);
  }
  return true;
}

// A JSON object as it stands: up to the brace that closes it.
bool Lexer::object(std::string& out, const Token& token) {
  bool fresh = false;
  if (!skip_blank(fresh)) return false;
  if (look() != '{') {
    return fail_at(Reason::syntax, "%" + token.text + " needs a JSON object; add { ... }", token);
  }
  size_t start = at_;
  size_t depth = 0;
  bool quoted = false;
  uint32_t c = 0;
  do {
    if (done()) return fail_at(Reason::syntax, "a JSON object is not closed; add }", token);
    if (!take(c)) return false;
    if (quoted) {
      if (c == '\\' && !done() && !take(c))
        return false;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}') {
      --depth;
    }
  } while (depth > 0);
  out = text_.substr(start, at_ - start);
  return spend(out.size() / 8);
}

}  // namespace treadle::lark
