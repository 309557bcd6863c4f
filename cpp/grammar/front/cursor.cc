#include "grammar/front/cursor.h"

#include <utility>

#include "grammar/ir/charset.h"
#include "support/chars.h"

namespace treadle {
std::string place(uint32_t line, uint32_t column) {
  return std::to_string(line) + ":" + std::to_string(column);
}

bool Cursor::fail(Reason reason, std::string text, uint32_t line, uint32_t column) {
  if (status.ok()) status = grammar_error(reason, place(line, column), std::move(text));
  return false;
}

bool Cursor::fail_here(std::string text) {
  return fail(Reason::syntax, std::move(text), line_, column_);
}

bool Cursor::spend(uint64_t units) {
  if (fuel_.spend(units)) return true;
  if (status.ok()) status = fuel_.status();
  return false;
}

bool Cursor::take(uint32_t& c) {
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

bool Cursor::accept(std::string_view ascii) {
  if (!rest().starts_with(ascii)) return false;
  at_ += ascii.size();
  column_ += static_cast<uint32_t>(ascii.size());
  return true;
}

bool Cursor::skip(size_t bytes) {
  size_t end = at_ + bytes;
  uint32_t c = 0;
  while (at_ < end) {
    if (!take(c)) return false;
  }
  return true;
}

bool Cursor::skip_line() {
  uint32_t c = 0;
  while (!done() && look() != '\n') {
    if (!take(c)) return false;
  }
  return true;
}

bool Cursor::hex(size_t least, size_t most, uint32_t& c) {
  size_t digits = 0;
  c = 0;
  for (; digits < most && hex_value(static_cast<uint8_t>(look())) >= 0; ++digits) {
    c = c * 16 + static_cast<uint32_t>(hex_value(static_cast<uint8_t>(look())));
    if (c > kMaxCodePoint) break;
    ++at_;
    ++column_;
  }
  if (digits >= least && c <= kMaxCodePoint) return true;
  return fail_here("malformed escape; write \\xH, \\uHHHH or \\UHHHHHHHH up to 10FFFF");
}

bool Cursor::escape(uint32_t& c) {
  if (!take(c)) return false;
  constexpr std::string_view kLetters = "nrtbfave0";
  constexpr std::string_view kValues("\n\r\t\b\f\a\v\x1B\0", 9);
  if (c == 'x') return hex(1, 8, c);
  if (c == 'U') return hex(8, 8, c);
  if (c == 'u') {
    if (!hex(4, 4, c)) return false;
    uint32_t low = 0;
    bool pair = c >= 0xD800 && c <= 0xDBFF && accept("\\u");
    if (!pair) return true;
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

bool Cursor::quoted(std::string& out, uint32_t line, uint32_t column) {
  while (!accept("\"")) {
    if (done() || look() == '\n') {
      return fail(Reason::syntax, "a literal is not closed on its line; add \"", line, column);
    }
    uint32_t c = 0;
    if (accept("\\")) {
      if (!escape(c)) return false;
    } else if (!take(c)) {
      return false;
    }
    if (is_surrogate(c)) return fail_here("a surrogate is no character; write the whole one");
    append_utf8(out, c);
  }
  return true;
}

}  // namespace treadle
