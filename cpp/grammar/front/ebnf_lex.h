// The tokens of an EBNF grammar.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "grammar/front/cursor.h"
#include "grammar/ir/charset.h"

namespace treadle::ebnf {

enum class Tok : uint8_t {
  end,
  name,     // of a rule, a number or a word of a macro, in `text`
  macro,    // the name of a macro, in `text`; its ( has been read
  define,   // ::=
  literal,  // decoded UTF-8 in `text`
  set,      // a class or the dot, in `set`
  open,     // ( and, with `look`, (=
  close,    // )
  bar,      // |
  comma,    // , between the arguments of a macro
  equals,   // = after the name of an argument
  repeat,   // * + ? {m,n}: lo to hi times
  token,    // a token terminal, as written in `text`
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

// Reads the grammar once. Line ends are blanks: a rule goes on until the next `name ::=`.
class Lexer : public Cursor {
 public:
  using Cursor::Cursor;

  // False: `status` is set.
  bool next(Token& token);
  // Whether `::=`, perhaps after a block of rule options, follows the token that was read last.
  [[nodiscard]] bool defines_next();
  // The options before `::=`, as written; empty if there are none.
  bool options(Token& token);
  bool fail_at(Reason reason, std::string text, const Token& at) {
    return fail(reason, std::move(text), at.line, at.column);
  }

 private:
  void skip_blank();
  bool name(Token& token);
  bool bracket(Token& token);
  bool class_char(uint32_t& c) { return accept("\\") ? escape(c) : take(c); }
  bool bounds(Token& token);
  bool count(uint32_t& value, bool& found);
};

}  // namespace treadle::ebnf
