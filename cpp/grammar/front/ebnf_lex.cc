#include "grammar/front/ebnf_lex.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "grammar/ir/node.h"

namespace treadle::ebnf {
namespace {

constexpr uint32_t kMaxCount = 0x7FFFFFFF;
constexpr std::array<std::string_view, 6> kMacros = {"Regex", "Substring",    "TagDispatch",
                                                     "Token", "ExcludeToken", "TokenTagDispatch"};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool begins_name(char c) {
  return is_letter(c) || is_digit(c) || c == '_';
}
bool in_name(char c) {
  return begins_name(c) || c == '-' || c == '.';
}

int32_t hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string place(uint32_t line, uint32_t column) {
  return std::to_string(line) + ":" + std::to_string(column);
}

bool Lexer::fail(Reason reason, std::string text, const Token& at) {
  if (status.ok()) status = grammar_error(reason, place(at.line, at.column), std::move(text));
  return false;
}

bool Lexer::fail_here(std::string text) {
  if (status.ok()) status = syntax_error(place(line_, column_), std::move(text));
  return false;
}

bool Lexer::take(uint32_t& c) {
  if (done()) return fail_here("the grammar ends too early; complete the rule");
  size_t size = read_utf8(text_, at_, c);
  if (size == 0) return fail_here("invalid UTF-8; give the grammar as text");
  at_ += size;
  ++column_;
  if (c == '\n') {
    ++line_;
    column_ = 1;
  }
  return true;
}

bool Lexer::accept(std::string_view ascii) {
  if (!text_.substr(at_).starts_with(ascii)) return false;
  at_ += ascii.size();
  column_ += static_cast<uint32_t>(ascii.size());
  return true;
}

void Lexer::skip_blank() {
  uint32_t c = 0;
  while (!done()) {
    if (look() == '#') {
      while (!done() && look() != '\n') {
        if (!take(c)) return;
      }
    } else if (look() == ' ' || look() == '\t' || look() == '\r' || look() == '\n') {
      if (!take(c)) return;
    } else {
      return;
    }
  }
}

bool Lexer::defines_next() {
  skip_blank();
  return text_.substr(at_).starts_with("::=");
}

bool Lexer::next(Token& token) {
  skip_blank();
  token = Token{};
  token.line = line_;
  token.column = column_;
  if (!status.ok()) return false;
  if (done()) return true;
  if (!fuel_.spend()) {
    status = fuel_.status();
    return false;
  }
  if (accept("::=")) {
    token.kind = Tok::define;
    return true;
  }
  if (begins_name(look())) return name(token);
  if (accept("\"")) return literal(token);
  if (accept("[")) return bracket(token);
  if (accept("{")) return bounds(token);
  token.kind = Tok::repeat;
  if (accept("*")) return token.hi = kOpen, true;
  if (accept("+")) return token.lo = 1, token.hi = kOpen, true;
  if (accept("?")) return token.hi = 1, true;
  token.kind = Tok::open;
  token.look = accept("(=");
  if (token.look || accept("(")) return true;
  token.kind = Tok::close;
  if (accept(")")) return true;
  token.kind = Tok::bar;
  if (accept("|")) return true;
  token.kind = Tok::set;
  token.set = CharSet::any();
  if (accept(".")) return true;
  if (look() == '<' || look() == '!') {
    return fail(Reason::unsupported, "token terminals are not supported; write the text in quotes",
                token);
  }
  return fail(Reason::syntax, "unexpected character; rules are written name ::= expression", token);
}

bool Lexer::name(Token& token) {
  size_t start = at_;
  while (in_name(look())) {
    ++at_;
    ++column_;
  }
  token.kind = Tok::name;
  token.text = text_.substr(start, at_ - start);
  bool macro = std::find(kMacros.begin(), kMacros.end(), token.text) != kMacros.end();
  if (!macro || look() != '(') return true;
  return fail(Reason::unsupported,
              "macro " + token.text + " is not supported; write out what it stands for", token);
}

bool Lexer::literal(Token& token) {
  token.kind = Tok::literal;
  while (!accept("\"")) {
    if (done() || look() == '\n') {
      return fail(Reason::syntax, "a literal is not closed on its line; add \"", token);
    }
    uint32_t c = 0;
    if (accept("\\")) {
      if (!escape(c)) return false;
    } else if (!take(c)) {
      return false;
    }
    if (is_surrogate(c)) return fail_here("a surrogate is no character; write the whole one");
    append_utf8(token.text, c);
  }
  return true;
}

bool Lexer::hex(size_t least, size_t most, uint32_t& c) {
  size_t digits = 0;
  c = 0;
  for (; digits < most && hex_digit(look()) >= 0; ++digits) {
    c = c * 16 + static_cast<uint32_t>(hex_digit(look()));
    if (c > kMaxCodePoint) break;
    ++at_;
    ++column_;
  }
  if (digits >= least && c <= kMaxCodePoint) return true;
  return fail_here("malformed escape; write \\xH, \\uHHHH or \\UHHHHHHHH up to 10FFFF");
}

// What follows the backslash.
bool Lexer::escape(uint32_t& c) {
  if (!take(c)) return false;
  constexpr std::string_view kLetters = "nrtbfave0";
  constexpr std::string_view kValues("\n\r\t\b\f\a\v\x1B\0", 9);
  if (c == 'x') return hex(1, 8, c);
  if (c == 'U') return hex(8, 8, c);
  if (c == 'u') {
    if (!hex(4, 4, c)) return false;
    uint32_t low = 0;
    bool pair = c >= 0xD800 && c <= 0xDBFF && text_.substr(at_).starts_with("\\u");
    if (!pair) return true;
    accept("\\u");
    if (!hex(4, 4, low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return fail_here("a lone surrogate; write both halves");
    c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    return true;
  }
  size_t known = c < 0x80 ? kLetters.find(static_cast<char>(c)) : std::string_view::npos;
  if (known != std::string_view::npos) {
    c = static_cast<uint8_t>(kValues[known]);
    return true;
  }
  if (c < 0x80 && (is_letter(static_cast<char>(c)) || is_digit(static_cast<char>(c)))) {
    return fail_here("unknown escape; write the character alone or as \\xH");
  }
  return true;  // punctuation stands for itself
}

bool Lexer::class_char(uint32_t& c) {
  return accept("\\") ? escape(c) : take(c);
}

bool Lexer::bracket(Token& token) {
  token.kind = Tok::set;
  bool negated = accept("^");
  std::vector<CharRange> ranges;
  while (!accept("]")) {
    if (done()) return fail(Reason::syntax, "a class is not closed; add ]", token);
    if (!fuel_.spend()) {
      status = fuel_.status();
      return false;
    }
    uint32_t lo = 0;
    if (!class_char(lo)) return false;
    uint32_t hi = lo;
    bool dash_last = text_.substr(at_).starts_with("-]");
    if (!dash_last && accept("-") && !class_char(hi)) return false;
    if (hi < lo) return fail_here("the ends of a range are out of order; swap them");
    ranges.push_back({lo, hi});
  }
  token.set = CharSet(std::move(ranges));
  if (negated) token.set = token.set.invert();
  return true;
}

bool Lexer::count(uint32_t& value, bool& found) {
  skip_blank();
  uint64_t wide = 0;
  found = is_digit(look());
  for (; is_digit(look()); ++at_, ++column_) {
    wide = std::min<uint64_t>(uint64_t{kMaxCount} + 1,
                              wide * 10 + static_cast<uint64_t>(look() - '0'));
  }
  skip_blank();
  if (wide > kMaxCount) return fail_here("a repetition count is above 2147483647; lower it");
  value = static_cast<uint32_t>(wide);
  return true;
}

bool Lexer::bounds(Token& token) {
  token.kind = Tok::repeat;
  bool low = false;
  bool high = true;
  if (!count(token.lo, low)) return false;
  token.hi = token.lo;
  if (low && accept(",")) {
    if (!count(token.hi, high)) return false;
    if (!high) token.hi = kOpen;
  }
  if (!low || !accept("}")) {
    return fail(Reason::syntax, "malformed repetition; write {m}, {m,} or {m,n}", token);
  }
  if (token.lo <= token.hi) return true;
  return fail(Reason::syntax, "the bounds of a repetition are out of order; swap them", token);
}

}  // namespace treadle::ebnf
