// The string leaf: decoded text decides, every spelling counts, partial escapes stay live exactly.
#include <string>
#include <vector>

#include "check.h"
#include "grammar/front/regex.h"
#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "grammar/typed/str.h"

using namespace treadle;
using namespace treadle::test;

namespace {

NodeRef content(Store& store, std::string_view pattern) {
  const Result<NodeRef> text = parse_regex(store, pattern, RegexOptions{}, Limits{});
  check(text.ok(), std::string(pattern));
  return string_content(store, *text);
}

std::string hex(uint32_t unit, bool upper) {
  const std::string digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string out = "\\u";
  for (const uint32_t place : {0x1000u, 0x100u, 0x10u, 0x1u}) out += digits[unit / place % 16];
  return out;
}

// The ways to write one code point that JSON knows.
std::vector<std::string> spellings(uint32_t code) {
  std::vector<std::string> out;
  std::string raw;
  append_utf8(raw, code);
  if (code >= 0x20 && code != '"' && code != '\\') out.push_back(raw);
  const std::string values = "\"\\/\b\f\n\r\t", names = "\"\\/bfnrt";
  if (const size_t at = values.find(static_cast<char>(code)); code < 0x80 && at < values.size()) {
    out.push_back(std::string("\\") + names[at]);
  }
  for (const bool upper : {false, true}) {
    if (code < 0x10000) {
      out.push_back(hex(code, upper));
    } else {
      const uint32_t rest = code - 0x10000;
      out.push_back(hex(0xD800 + (rest >> 10), upper) + hex(0xDC00 + (rest & 0x3FF), !upper));
    }
  }
  return out;
}

void every_spelling_of_a_character() {
  for (const uint32_t code : {0x0u, 0x9u, 0x22u, 0x2Fu, 0x41u, 0x5Cu, 0x7Fu, 0xE9u, 0x7FFu, 0x20ACu,
                              0xD7FFu, 0xE000u, 0xFFFFu, 0x10000u, 0x1F600u, 0x10FFFFu}) {
    Store store;
    std::string raw;
    append_utf8(raw, code);
    const NodeRef leaf = string_content(store, store.bytes(raw));
    const NodeRef any = spelled_any(store);
    for (const std::string& text : spellings(code)) {
      check(store.matches(leaf, text) && store.matches(any, text), text);
      // What begins a spelling is live, and nothing else of one byte more is.
      NodeRef at = leaf;
      for (const char byte : text) {
        check(at != store.empty(), text);
        at = store.derive(at, static_cast<uint8_t>(byte));
      }
    }
    const uint32_t other = code == 0x41 ? 0x42 : 0x41;
    for (const std::string& text : spellings(other)) check(!store.matches(leaf, text), text);
  }
}

void partial_escapes_are_exact() {
  Store store;
  const NodeRef node = content(store, "[\\u{C0}-\\u{CF}\\u{1F600}]x");
  const auto live = [&](std::string_view text) {
    return store.derive(node, text) != store.empty();
  };
  for (const char* text :
       {"\\", "\\u", "\\u0", "\\u00", "\\u00c", "\\u00cf", "\\uD", "\\ud83", "\\ud83d", "\\ud83d\\",
        "\\ud83d\\u", "\\uD83D\\uDe0", "\xC3", "\xF0\x9F"}) {
    check(live(text), text);
  }
  for (const char* text :
       {"\\n", "\\u1", "\\u01", "\\u00d", "\\ud8", "\\ud84", "\\ud83e", "\\ud83dx", "\\ud83d\\n",
        "\\ud83d\\u0", "\\uD83D\\ude01", "\\udc", "\xC3\\", "\"", "\n"}) {
    // \ud8 still leads to \ud83d: only the third digit parts them.
    check(live(text) == (std::string_view(text) == "\\ud8"), text);
  }
  check(store.matches(node, "\\u00Cax") && store.matches(node, "\xC3\x8Ax"));
  check(!store.matches(node, "\\u00Ca") && !store.matches(node, "\\u00CaX"));
}

void lengths_count_characters() {
  Store store;
  const NodeRef two = string_content(store, store.repeat(store.any_char(), 2, 2));
  for (const char* text : {"ab", "\\n\\u0041", "\xF0\x9F\x98\x80\\ud83d\\uDE00", "\xC3\xA9\\\""}) {
    check(store.matches(two, text), text);
  }
  for (const char* text : {"a", "abc", "\\ud83d\\ude00", "\\ud83d", "\\ude00a", "a\"", "a\n"}) {
    check(!store.matches(two, text), text);
  }
  const NodeRef pattern = content(store, "(?:ab)*");
  const NodeRef both = string_content(store, store.both(*parse_regex(store, "(?:ab)*", {}, {}),
                                                        store.repeat(store.any_char(), 3, 5)));
  check(store.matches(pattern, "") && !store.matches(both, "ab") &&
        store.matches(both, "ab\\u0061b"));
  check(store.derive(both, "ababa") == store.empty());
  check(content(store, "a(?!.*b)b") == store.empty());
}

}  // namespace

int main() {
  every_spelling_of_a_character();
  partial_escapes_are_exact();
  lengths_count_characters();
  return report();
}
