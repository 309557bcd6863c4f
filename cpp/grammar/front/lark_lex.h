// The tokens of a Lark grammar.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "grammar/front/cursor.h"

namespace treadle::lark {

enum class Tok : uint8_t {
  end,
  name,       // of a rule or terminal, in `text`
  string,     // decoded UTF-8 in `text`; `flags` is "i" or empty
  regex,      // the pattern in `text`, its letters in `flags`
  number,     // in `number`
  directive,  // %name in `text`; for %json, %regex and options its JSON object in `flags`
  named,      // @name
  token,      // a token terminal, as written
  options,    // [key=value, ...] of a rule, as written
  dots,       // ..
  arrow,      // ->
  params,     // ::
  mark,       // one of : | ( ) [ ] { } * + ? ~ & , . ! = in `mark`
};

struct Token {
  Tok kind = Tok::end;
  char mark = '\0';
  bool first = false;  // on its line
  uint32_t line = 1;
  uint32_t column = 1;
  uint64_t number = 0;
  bool negative = false;
  std::string text;
  std::string flags;

  [[nodiscard]] bool is(char c) const { return kind == Tok::mark && mark == c; }
};

class Lexer : public Cursor {
 public:
  using Cursor::Cursor;

  // False: `status` is set.
  bool next(Token& token);
  // Whether a digit or a comma follows: after ~ or {, then, a repetition.
  [[nodiscard]] bool bounds_next();
  // Reads the options of a rule, if they follow right here.
  bool options(Token& token);
  bool fail_at(Reason reason, std::string text, const Token& at) {
    return fail(reason, std::move(text), at.line, at.column);
  }

 private:
  bool skip_blank(bool& fresh);
  bool regex(Token& token);
  bool number(Token& token);
  bool directive(Token& token);
  bool object(std::string& out, const Token& token);

  bool began_ = false;
};

}  // namespace treadle::lark
