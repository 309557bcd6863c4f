// Patterns: what they match, what is refused and where. (Random patterns are compared with Python's
// `re` in tests/grammar/test_regex.py; here stand the cases that ECMA-262 decides otherwise.)
#include "grammar/front/regex.h"

#include <initializer_list>
#include <string>
#include <string_view>

#include "check.h"
#include "grammar/ir/store.h"

using namespace treadle;
using namespace treadle::test;

namespace {

using Texts = std::initializer_list<std::string_view>;

void match(std::string_view pattern, std::string_view flags, Texts yes, Texts no) {
  bool search = flags.starts_with("/");
  Limits limits;
  Store store(limits);
  Result<RegexOptions> options = regex_flags(flags.substr(search), {.search = search});
  check(options.ok());
  Result<NodeRef> node = parse_regex(store, pattern, *options, limits);
  if (!check(node.ok(), std::string(pattern) + ": " + node.status().text)) return;
  check(store.regular(*node));
  for (std::string_view text : yes) {
    check(store.matches(*node, text), std::string(pattern) + " on " + std::string(text));
  }
  for (std::string_view text : no) {
    check(!store.matches(*node, text), std::string(pattern) + " not on " + std::string(text));
  }
}

void refuse(std::string_view pattern, Reason reason, std::string_view at) {
  Limits limits;
  Store store(limits);
  Result<NodeRef> node = parse_regex(store, pattern, {}, limits);
  if (!check(!node.ok(), std::string(pattern) + " was accepted")) return;
  check(node.status().reason == reason, std::string(pattern) + ": " + node.status().text);
  check(node.status().at == at, std::string(pattern) + " at " + node.status().at);
}

void limited(const std::string& pattern, std::string_view limit) {
  Limits limits;
  Store store(limits);
  Result<NodeRef> node = parse_regex(store, pattern, {}, limits);
  check(!node.ok() && node.status().limit == limit, node.status().limit);
}

void syntax_of_ecma() {
  match(R"(\d\w\s)", "", {"1a\xC2\xA0", "2_\xEF\xBB\xBF"},
        {"\xD9\xA1"
         "a ",
         "1\xC3\xA9 "});
  match(R"(\x41\u0042\u{1F600}\uD83D\uDE00\cJ\0)", "",
        {std::string_view("AB\xF0\x9F\x98\x80\xF0\x9F\x98\x80\n\0", 12)}, {"AB"});
  match(".", "", {"a", "\xF0\x9F\x98\x80"}, {"\n", "\r", "\xE2\x80\xA8", "", "\xFF"});
  match(".", "s", {"\n", "\xE2\x80\xA9"}, {""});
  match("[^]", "", {"\n", "x"}, {""});
  match("[]", "", {}, {"", "x"});
  match(R"([\]\-\b^])", "", {"]", "-", "\b", "^"}, {"\\", "b"});
  match(R"([\w-.])", "", {"a", "-", "."}, {"+"});
  match("a{,2}{}]x{", "", {"a{,2}{}]x{"}, {"a"});
  match(R"(\/\@\-\_)", "", {"/@-_"}, {});
  match("(?<year>a)(?:b)(c)", "", {"abc"}, {"ab"});
  match("(?i:a)b(?-i:C)", "i", {"ABC", "abC"}, {"abc"});
  match(R"(  a b # comment
          [ ] c)",
        "x", {"ab c"}, {"a b c"});
  match(
      "stra\xC3\x9F"
      "e|K",
      "i",
      {"STRA\xE1\xBA\x9E"
       "E",
       "k", "\xE2\x84\xAA"},
      {"strasse"});
  match(R"(\p{Lu}\P{L}\p{gc=Nd}\p{Letter}*)", "", {"\xC3\x89-1ab"}, {"e-1", "E--"});
  match("a{2,2147483647}?b{3}c+?", "", {"aabbbc", "aaaabbbcc"}, {"abbbc", "aabbc"});
}

void anchors() {
  match("^a|b$", "/", {"a", "ab", "xb"}, {"xa", "bx", ""});
  match("^a|b$", "", {"a", "b"}, {"ab"});
  match("a^b|c$d", "/", {}, {"ab", "cd", "a^b"});
  match("(^a|b)*c", "", {"abbc", "c", "bc"}, {"bac", "aac"});
  match("(a$|b)+", "", {"bba", "a", "b"}, {"ab"});
  match("(^){3}a(b|$){2}", "", {"a", "ab", "abb"}, {"abbb"});
  match("^b$", "/m",
        {"a\nb\nc", "b",
         "a\xE2\x80\xA8"
         "b"},
        {"ab", "a\nbc"});
  match(R"(\bfoo\b)", "/", {"foo", "a foo-"}, {"afoo", "foo_", "\xC3\xA9"});
  match(R"(\B)", "", {""}, {"a"});
}

void lookaround() {
  match(R"(^(?=.*\d)(?=.*[a-z])(?!.*[<>]).{3,}$)", "/", {"a1b", "1\xC3\xA9z"},
        {"abc", "a1", "a1<"});
  match("^(?!-)[a-z-]{1,5}(?<!-)$", "/", {"abc", "a-b"}, {"-a", "a-", ""});
  match("a(?=b|c)[a-z]d|x(?!y)", "", {"abd", "acd", "x"}, {"aed", "xy"});
  match("(?<=a)b", "/", {"ab", "xxabx"}, {"b", "cb"});
  match("(?:a(?!c)|b(?=c))[cd]", "", {"ad", "bc"}, {"ac", "bd"});
  match("(?!(?!a)).", "", {"a"}, {"b"});
  match("(?=^a)(?=a$)a", "/", {"a"}, {"ab", "ba"});
}

void refusals() {
  refuse("ab(", Reason::syntax, "offset 2");
  refuse("\xC3\xA9)", Reason::syntax, "offset 1");
  refuse("a**", Reason::syntax, "offset 2");
  refuse("^*", Reason::syntax, "offset 0");
  refuse("[z-a]", Reason::syntax, "offset 1");
  refuse("[a", Reason::syntax, "offset 0");
  refuse("x{3,1}", Reason::syntax, "offset 1");
  refuse(R"(a\q)", Reason::syntax, "offset 1");
  refuse("a\\", Reason::syntax, "offset 1");
  refuse(R"(\u12)", Reason::syntax, "offset 0");
  refuse("\xFF", Reason::syntax, "offset 0");
  refuse(R"((a)\1)", Reason::unsupported, "offset 3");
  refuse(R"(\k<a>)", Reason::unsupported, "offset 0");
  refuse("(?=a)*", Reason::unsupported, "offset 0");
  refuse("b(a(?=a))+", Reason::unsupported, "offset 1");
  refuse(R"((\ba)*)", Reason::unsupported, "offset 0");
  refuse(R"(\p{Greek})", Reason::unsupported, "offset 0");
  refuse("a(?=b)b(?<=ab)c", Reason::unsupported, "offset 1");
  refuse("(?P<a>b)", Reason::unsupported, "offset 0");
  refuse("(?>a)", Reason::unsupported, "offset 0");
  refuse("a{9999999999}", Reason::unsupported, "offset 1");
  limited(std::string(100'000, '('), "source_depth");
  limited(std::string(2'000'000, 'a'), "regex_bytes");
}

}  // namespace

int main() {
  syntax_of_ecma();
  anchors();
  lookaround();
  refusals();
  return report();
}
