#include "grammar/front/ebnf_lex.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "grammar/front/special.h"
#include "grammar/ir/node.h"

namespace treadle::ebnf {
namespace {

constexpr uint32_t kMaxCount = 0x7FFFFFFF;
constexpr std::array<std::string_view, 9> kMacros = {"Regex", "Substring",    "TagDispatch",
                                                     "Token", "ExcludeToken", "TokenTagDispatch",
                                                     "Bytes", "Both",         "Not"};

bool begins_name(char c) {
  return is_letter(c) || is_digit(c) || c == '_';
}
bool in_name(char c) {
  return begins_name(c) || c == '-' || c == '.';
}

}  // namespace

void Lexer::skip_blank() {
  uint32_t c = 0;
  while (!done()) {
    if (look() == '#') {
      if (!skip_line()) return;
    } else if (look() == ' ' || look() == '\t' || look() == '\r' || look() == '\n') {
      if (!take(c)) return;
    } else {
      return;
    }
  }
}

bool Lexer::defines_next() {
  skip_blank();
  std::string_view after = rest();
  size_t size = rule_options_size(after);
  if (size > 0) {
    after.remove_prefix(size);
    after.remove_prefix(std::min(after.size(), after.find_first_not_of(" \t")));
  }
  return after.starts_with("::=");
}

bool Lexer::options(Token& token) {
  token = Token{};
  token.line = line_;
  token.column = column_;
  size_t size = rule_options_size(rest());
  token.text = rest().substr(0, size);
  return skip(size);
}

bool Lexer::next(Token& token) {
  skip_blank();
  token = Token{};
  token.line = line_;
  token.column = column_;
  if (!status.ok()) return false;
  if (done()) return true;
  if (!spend()) return false;
  if (accept("::=")) {
    token.kind = Tok::define;
    return true;
  }
  if (begins_name(look())) return name(token);
  if (accept("\"")) {
    token.kind = Tok::literal;
    return quoted(token.text, token.line, token.column);
  }
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
  token.kind = Tok::comma;
  if (accept(",")) return true;
  token.kind = Tok::equals;
  if (accept("=")) return true;
  token.kind = Tok::token;
  if (size_t size = token_terminal_size(rest()); size > 0) {
    token.text = rest().substr(0, size);
    return skip(size);
  }
  return fail_at(Reason::syntax, "unexpected character; rules are written name ::= expression",
                 token);
}

bool Lexer::name(Token& token) {
  token.kind = Tok::name;
  for (; in_name(look()); step()) token.text += look();
  bool macro = std::find(kMacros.begin(), kMacros.end(), token.text) != kMacros.end();
  if (macro && accept("(")) token.kind = Tok::macro;
  return true;
}

bool Lexer::bracket(Token& token) {
  token.kind = Tok::set;
  bool negated = accept("^");
  std::vector<CharRange> ranges;
  while (!accept("]")) {
    if (done()) return fail_at(Reason::syntax, "a class is not closed; add ]", token);
    if (!spend()) return false;
    uint32_t lo = 0;
    if (!class_char(lo)) return false;
    uint32_t hi = lo;
    bool dash_last = rest().starts_with("-]");
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
  for (; is_digit(look()); step()) {
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
    return fail_at(Reason::syntax, "malformed repetition; write {m}, {m,} or {m,n}", token);
  }
  if (token.lo <= token.hi) return true;
  return fail_at(Reason::syntax, "the bounds of a repetition are out of order; swap them", token);
}

}  // namespace treadle::ebnf
