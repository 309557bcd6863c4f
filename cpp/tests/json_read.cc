// The JSON reader: what it accepts, keeps and refuses, and that depth costs no stack.
#include "grammar/front/json_read.h"

#include <string>

#include "check.h"

using namespace treadle;
using namespace treadle::test;

namespace {

std::string failure(std::string_view text, json::ReadLimits limits = {}) {
  const Result<json::Document> result = json::read(text, limits);
  if (result.ok()) return "";
  return result.status().at + " " + std::string(code_name(result.status().code));
}

void keeps_order_and_spelling() {
  const Result<json::Document> read =
      json::read(R"({"b":[1.50e+2,-0],"a":"\u00e9\ud83d\ude00\/","":null})", {});
  check(read.ok());
  const json::Value root = read->root();
  std::string keys;
  for (const json::Value member : root) keys += std::string(member.key()) + ",";
  check(keys == "b,a,,", keys);
  check(root.get("b").item(0).text() == "1.50e+2");
  check(root.get("b").item(1).text() == "-0");
  check(root.get("a").text() == "\xC3\xA9\xF0\x9F\x98\x80/");
  check(root.get("").is_null());
  check(!root.get("c") && !root.get("b").item(2));
  check(root.get("b").item(1).pointer() == "/b/1");
}

void refuses() {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "{\"a\"}",
                           "{a:1}",
                           "01",
                           "1.",
                           ".5",
                           "1e",
                           "+1",
                           "--1",
                           "nul",
                           "tru",
                           "\"\\x\"",
                           "\"\\u12g4\"",
                           "\"\\udc00\"",
                           "\"\\ud800x\"",
                           "\"\n\"",
                           "\"a",
                           "1 2",
                           "[1 2]",
                           "{\"a\":1 \"b\":2}",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "NaN",
                           "'a'",
                           "{\"a\":1,\"b\":2,\"a\":3}",
                           "{\"a\":1,\"\\u0061\":2}"}) {
    check(!failure(text).empty(), text);
  }
  check(failure("{\"x\":\n  [1, ?]}") == "2:7 grammar_error");
  check(failure("[[[]]]", {100, 2}) == "1:3 limit_exceeded");
  check(failure("[1,2,3]", {6, 9}) == " limit_exceeded");
}

void depth_costs_no_stack() {
  constexpr size_t kDepth = 1'000'000;
  const std::string text = std::string(kDepth, '[') + std::string(kDepth, ']');
  const Result<json::Document> read = json::read(text, {16u << 20, kDepth});
  check(read.ok() && read->size() == kDepth);
}

}  // namespace

int main() {
  keeps_order_and_spelling();
  refuses();
  depth_costs_no_stack();
  return report();
}
