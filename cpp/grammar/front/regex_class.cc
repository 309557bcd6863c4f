// Escapes and bracket classes.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grammar/front/regex_lex.h"
#include "grammar/front/regex_unicode.h"
#include "support/chars.h"

namespace treadle::regex {
namespace {

bool is_letter(uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

CharSet digit_set() {
  return CharSet{{'0', '9'}};
}

CharSet word_set(bool ignore_case) {
  CharSet set{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  // The long s and the Kelvin sign fold to s and k.
  return ignore_case ? set.unite(CharSet{{0x17F, 0x17F}, {0x212A, 0x212A}}) : set;
}

CharSet space_set() {
  return CharSet{{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
                 {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                 {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}

CharSet line_end_set() {
  return CharSet{{0x0A, 0x0A}, {0x0D, 0x0D}, {0x2028, 0x2029}};
}

bool Lexer::hex(size_t digits, uint32_t& value) {
  Place start = place();
  value = 0;
  for (size_t i = 0; i < digits; ++i) {
    int32_t digit = hex_value(peek());
    uint32_t c = 0;
    if (digit < 0 || !take(c)) {
      go_back(start);
      return false;
    }
    value = value * 16 + static_cast<uint32_t>(digit);
  }
  return true;
}

bool Lexer::unicode_escape(uint32_t start, uint32_t& c) {
  if (accept("{")) {
    c = 0;
    uint32_t digits = 0;
    uint32_t skipped = 0;
    for (; hex_value(peek()) >= 0 && c <= kMaxCodePoint; ++digits) {
      c = c * 16 + static_cast<uint32_t>(hex_value(peek()));
      if (!take(skipped)) return false;
    }
    if (digits > 0 && c <= kMaxCodePoint && accept("}")) return true;
    return fail(Reason::syntax, "malformed \\u{...}; give a code point up to 10FFFF", start);
  }
  if (!hex(4, c)) return fail(Reason::syntax, "\\u needs four hexadecimal digits", start);
  if (c < 0xD800 || c > 0xDBFF) return true;
  Place here = place();
  uint32_t low = 0;
  if (accept("\\u") && hex(4, low) && low >= 0xDC00 && low <= 0xDFFF) {
    c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
  } else {
    go_back(here);
  }
  return true;
}

bool Lexer::property(bool negated, uint32_t start, CharSet& set) {
  if (!accept("{")) return fail(Reason::syntax, "\\p needs a name in braces, as \\p{L}", start);
  size_t close = text_.find('}', at_);
  if (close == std::string_view::npos) {
    return fail(Reason::syntax, "the name after \\p is not closed; add }", start);
  }
  std::string_view name = text_.substr(at_, close - at_);
  if (name.size() > 64) return fail(Reason::syntax, "no property name is this long", start);
  std::optional<CharSet> known = unicode_property(name);
  if (!known) {
    return fail(
        Reason::unsupported,
        "property \\p{" + std::string(name) +
            "} is not in the table; general categories, scripts (Script=Greek), Any, ASCII and "
            "Assigned are",
        start);
  }
  accept(text_.substr(at_, close + 1 - at_));
  if (!fuel_.spend(known->ranges().size())) {
    status = fuel_.status();
    return false;
  }
  set = cased(negated ? known->invert() : *known);
  return true;
}

// \d, \w or \s. Unicode's are those of UTS #18, annex C.
const CharSet& Lexer::named_set(uint32_t letter) {
  CharSet& set = letter == 'd' ? digits_ : letter == 'w' ? words_ : spaces_;
  if (!flags.terminal) {
    set = letter == 'd' ? digit_set() : letter == 'w' ? word_set(flags.ignore_case) : space_set();
  } else if (set.is_empty() && letter == 's') {
    set = space_set().subtract(CharSet::single(0xFEFF)).unite(CharSet::single(0x85));
  } else if (set.is_empty()) {
    set = *unicode_property("Nd");
    if (letter == 'w') {
      for (std::string_view name : {"L", "M", "Nl", "Pc"}) set = set.unite(*unicode_property(name));
      // The joiners, and the circled and squared letters, which are symbols by category.
      set = set.unite(CharSet{{0x200C, 0x200D},
                              {0x24B6, 0x24E9},
                              {0x1F130, 0x1F149},
                              {0x1F150, 0x1F169},
                              {0x1F170, 0x1F189}});
    }
  }
  return set;
}

// Reads what follows a backslash when it names a set; `found` says whether it does.
bool Lexer::class_escape(uint32_t letter, CharSet& set, bool& found) {
  found = true;
  switch (letter) {
    case 'd':
    case 'w':
    case 's':
      set = named_set(letter);
      return true;
    case 'D':
    case 'W':
    case 'S':
      set = named_set(letter | 0x20).invert();
      return true;
    case 'p':
    case 'P':
      return property(letter == 'P', offset_ - 2, set);
    default:
      found = false;
      return true;
  }
}

// Reads what follows a backslash when it names one code point.
bool Lexer::character_escape(uint32_t letter, uint32_t start, uint32_t& c) {
  switch (letter) {
    case 't':
      c = '\t';
      return true;
    case 'n':
      c = '\n';
      return true;
    case 'v':
      c = '\v';
      return true;
    case 'f':
      c = '\f';
      return true;
    case 'r':
      c = '\r';
      return true;
    case 'x':
      return hex(2, c) || fail(Reason::syntax, "\\x needs two hexadecimal digits", start);
    case 'u':
      return unicode_escape(start, c);
    case 'c':
      if (!is_letter(peek())) return fail(Reason::syntax, "\\c needs a letter", start);
      if (!take(c)) return false;
      c &= 31;
      return true;
    case '0':
      c = 0;
      if (peek() < '0' || peek() > '9') return true;
      return fail(Reason::unsupported, "octal escapes are not supported; write \\xHH", start);
    default:
      break;
  }
  if (letter == 'k' || (letter >= '1' && letter <= '9')) {
    return fail(Reason::unsupported, "backreferences are not supported; repeat the expression",
                start);
  }
  if (letter == 'A' || letter == 'Z' || letter == 'z') {
    return fail(Reason::unsupported, "\\A, \\Z and \\z are not ECMA-262; use ^ and $", start);
  }
  if (is_letter(letter)) {
    std::string name(1, static_cast<char>(letter));
    return fail(Reason::syntax, "unknown escape \\" + name + "; write " + name + " alone", start);
  }
  c = letter;  // any punctuation stands for itself
  return true;
}

bool Lexer::escape(Token& token) {
  uint32_t letter = 0;
  if (done()) return fail(Reason::syntax, "a backslash ends the pattern; write \\\\", token.offset);
  if (!take(letter)) return false;
  if (letter == 'b' || letter == 'B') {
    token.kind = Tok::border;
    token.negative = letter == 'B';
    return refuse_assertion(token);
  }
  bool found = false;
  if (!class_escape(letter, token.set, found)) return false;
  token.kind = found ? Tok::set : Tok::symbol;
  return found || character_escape(letter, token.offset, token.c);
}

bool Lexer::class_atom(CharSet& set, uint32_t& c, bool& single) {
  uint32_t start = offset_;
  single = true;
  if (!take(c)) return false;
  if (c != '\\') return true;
  uint32_t letter = 0;
  if (!take(letter)) return false;
  if (letter == 'b') {
    c = '\b';
    return true;
  }
  if (letter == 'B') return fail(Reason::syntax, "\\B cannot stand in a class", start);
  bool found = false;
  if (!class_escape(letter, set, found)) return false;
  single = !found;
  return found || character_escape(letter, start, c);
}

bool Lexer::bracket(Token& token) {
  bool negated = accept("^");
  std::vector<CharRange> ranges;
  while (!accept("]")) {
    if (done()) return fail(Reason::syntax, "a class is not closed; add ]", token.offset);
    if (!fuel_.spend()) {
      status = fuel_.status();
      return false;
    }
    uint32_t start = offset_;
    CharSet set;
    uint32_t lo = 0;
    bool single = false;
    for (std::string_view operation : {"[:", "&&", "--", "~~"}) {
      if (!flags.terminal || !text_.substr(at_).starts_with(operation)) continue;
      return fail(Reason::unsupported,
                  "set operations and [:names:] in a class; use & and ~ on "
                  "terminals, and escapes for the plain characters",
                  start);
    }
    if (!class_atom(set, lo, single)) return false;
    if (!single) {
      ranges.insert(ranges.end(), set.ranges().begin(), set.ranges().end());
      continue;
    }
    uint32_t hi = lo;
    Place dash = place();
    // A dash at either end, or next to a class escape (annex B), stands for itself.
    if (accept("-") && peek() != ']' && !done()) {
      if (!class_atom(set, hi, single)) return false;
      if (!single) {
        go_back(dash);
        hi = lo;
      } else if (hi < lo) {
        return fail(Reason::syntax, "the ends of a range are out of order; swap them", start);
      }
    } else {
      go_back(dash);
    }
    ranges.push_back({lo, hi});
  }
  token.kind = Tok::set;
  token.set = cased(CharSet(std::move(ranges)));
  if (negated) token.set = token.set.invert();
  return true;
}

}  // namespace treadle::regex
