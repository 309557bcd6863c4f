// The tokens of a pattern.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "grammar/front/regex.h"
#include "grammar/ir/charset.h"
#include "support/budget.h"
#include "support/result.h"

namespace treadle::regex {

CharSet digit_set();
CharSet word_set(bool ignore_case);
CharSet space_set();
CharSet line_end_set();  // LF, CR, U+2028, U+2029

enum class Tok : uint8_t {
  end,     // of the pattern
  symbol,  // the code point c
  set,     // one of `set`: class, class escape or dot
  begin,   // ^
  finish,  // $
  border,  // \b or, negative, \B
  open,    // ( of a group, with its modifiers in `flags`
  look,    // ( of a lookahead or lookbehind
  close,   // )
  bar,     // |
};

struct Token {
  Tok kind = Tok::end;
  bool negative = false;
  bool behind = false;
  uint32_t c = 0;
  uint32_t offset = 0;
  CharSet set;
  RegexOptions flags;
};

struct Bounds {
  uint32_t lo = 0;
  uint32_t hi = 0;
};

// Reads the pattern once, left to right. Every method that returns false has either found nothing
// (quantifier) or set `status`, whose `at` is the offset in code points.
class Lexer {
 public:
  Lexer(std::string_view pattern, const RegexOptions& flags, Fuel& fuel)
      : flags(flags), text_(pattern), fuel_(fuel) {
    dot_ = CharSet::any().subtract(flags.terminal ? CharSet::single('\n') : line_end_set());
  }

  bool next(Token& token);
  // A quantifier with its lazy mark at the current place, if there is one. False also on a
  // malformed one: then `status` is set.
  bool quantifier(Bounds& bounds);
  [[nodiscard]] uint32_t offset() const { return offset_; }
  bool fail(Reason reason, std::string text, uint32_t offset);
  [[nodiscard]] CharSet cased(const CharSet& set);  // closed under case where the flags ask for it

  RegexOptions flags;  // the modifiers in force; the parser sets them as groups open and close
  Status status;

 private:
  struct Place {
    size_t at;
    uint32_t offset;
  };
  [[nodiscard]] bool done() const { return at_ >= text_.size(); }
  // The code point here (not consumed), or UINT32_MAX at the end or on invalid UTF-8.
  [[nodiscard]] uint32_t peek() const;
  bool take(uint32_t& c);               // consumes one code point
  bool accept(std::string_view ascii);  // consumes this ASCII text if it comes next
  [[nodiscard]] Place place() const { return {at_, offset_}; }
  void go_back(Place p) { at_ = p.at, offset_ = p.offset; }
  void skip_extended();

  bool group(Token& token);
  bool group_name(uint32_t start);
  bool modifiers(Token& token, uint32_t start);
  bool refuse_group(uint32_t start);
  bool count(uint64_t& value);
  bool escape(Token& token);
  const CharSet& named_set(uint32_t letter);
  bool refuse_assertion(const Token& token);
  bool class_escape(uint32_t letter, CharSet& set, bool& found);
  bool character_escape(uint32_t letter, uint32_t start, uint32_t& c);
  bool hex(size_t digits, uint32_t& value);
  bool unicode_escape(uint32_t start, uint32_t& c);
  bool property(bool negated, uint32_t start, CharSet& set);
  bool bracket(Token& token);
  bool class_atom(CharSet& set, uint32_t& c, bool& single);

  std::string_view text_;
  size_t at_ = 0;
  uint32_t offset_ = 0;
  Fuel& fuel_;
  CharSet dot_;
  CharSet digits_, words_, spaces_;  // \d, \w, \s of Lark, made on their first use
};

}  // namespace treadle::regex
