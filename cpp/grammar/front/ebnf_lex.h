// The tokens of an EBNF grammar.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "grammar/ir/charset.h"
#include "support/budget.h"
#include "support/result.h"

namespace treadle::ebnf {

enum class Tok : uint8_t {
  end,
  name,     // of a rule, in `text`
  define,   // ::=
  literal,  // decoded UTF-8 in `text`
  set,      // a class or the dot, in `set`
  open,     // ( and, with `look`, (=
  close,    // )
  bar,      // |
  repeat,   // * + ? {m,n}: lo to hi times
};

struct Token {
  Tok kind = Tok::end;
  bool look = false;
  uint32_t line = 1;
  uint32_t column = 1;
  uint32_t lo = 0;
  uint32_t hi = 0;
  std::string text;
  CharSet set;
};

std::string place(uint32_t line, uint32_t column);  // "line:column"

// Reads the grammar once. Line ends are blanks: a rule goes on until the next `name ::=`.
class Lexer {
 public:
  Lexer(std::string_view text, Fuel& fuel) : text_(text), fuel_(fuel) {}

  // False: `status` is set, with "line:column" (columns in code points, from 1).
  bool next(Token& token);
  // Whether `::=` follows the token that was read last.
  [[nodiscard]] bool defines_next();
  bool fail(Reason reason, std::string text, const Token& at);

  Status status;

 private:
  [[nodiscard]] bool done() const { return at_ >= text_.size(); }
  [[nodiscard]] char look() const { return done() ? '\0' : text_[at_]; }
  bool take(uint32_t& c);
  bool accept(std::string_view ascii);
  void skip_blank();
  bool fail_here(std::string text);

  bool name(Token& token);
  bool literal(Token& token);
  bool bracket(Token& token);
  bool class_char(uint32_t& c);
  bool escape(uint32_t& c);
  bool hex(size_t least, size_t most, uint32_t& c);
  bool bounds(Token& token);
  bool count(uint32_t& value, bool& found);

  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  uint32_t column_ = 1;
  Fuel& fuel_;
};

}  // namespace treadle::ebnf
