// A place in the text of a grammar, and what the lexers of EBNF and Lark share at it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "support/budget.h"
#include "support/result.h"

namespace treadle {

std::string place(uint32_t line, uint32_t column);  // "line:column"

// Reads a text once, left to right. A method that returns false has set `status`, whose `at` is
// "line:column" (both from 1, columns in code points).
class Cursor {
 public:
  Cursor(std::string_view text, Fuel& fuel) : text_(text), fuel_(fuel) {}

  bool fail(Reason reason, std::string text, uint32_t line, uint32_t column);

  Status status;

 protected:
  [[nodiscard]] bool done() const { return at_ >= text_.size(); }
  [[nodiscard]] char look() const { return done() ? '\0' : text_[at_]; }
  [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }
  bool take(uint32_t& c);               // consumes one code point
  bool accept(std::string_view ascii);  // consumes this text, which has no line ends, if it is next
  void step() { ++at_, ++column_; }     // consumes one ASCII character that is no line end
  bool skip(size_t bytes);              // consumes that many bytes
  bool fail_here(std::string text);
  bool spend(uint64_t units = 1);
  bool skip_line();  // up to the line end

  // What follows a backslash in a literal: one code point, perhaps from two surrogate escapes.
  bool escape(uint32_t& c);
  // The rest of a literal after its opening quote, decoded.
  bool quoted(std::string& out, uint32_t line, uint32_t column);

  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  uint32_t column_ = 1;
  Fuel& fuel_;

 private:
  bool hex(size_t least, size_t most, uint32_t& c);
};

inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
inline bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace treadle
