// Work ahead of a text: the masks are those without it, however soon it is cut off, and what fails
// ahead of a text fails the fill that it failed before, if the text gets there at all.
#include <string>
#include <vector>

#include "check.h"
#include "grammar/run/compiler.h"
#include "grammar/run/matcher.h"

using namespace treadle;
using namespace treadle::test;

namespace {

VocabRef vocabulary() {
  std::vector<TokenSpec> specs;
  std::vector<std::string> texts;
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  for (const char* text : {"{\"", "\":", "\": ", "\",", "\"}", "},", "<fun", "}}", ":\"", "na"}) {
    texts.emplace_back(text);
  }
  for (const std::string& text : texts) specs.push_back({.bytes = text, .kind = TokenKind::text});
  specs.push_back({.bytes = "</s>", .kind = TokenKind::control});
  VocabOptions options;
  options.stop_ids = {static_cast<TokenId>(texts.size())};
  return Vocab::build(specs, options).take();
}

constexpr const char* kMail =
    R"({"type": "object", "required": ["name", "mail"], "additionalProperties": false,
        "properties": {"name": {"type": "string", "minLength": 3, "maxLength": 9},
                       "mail": {"type": "string", "format": "email"},
                       "next": {"$ref": "#"},
                       "kind": {"anyOf": [{"enum": ["a", "b"]}, {"type": "integer"}]}}})";
constexpr const char* kMailText =
    R"({"name": "Anna", "next": {"name": "Bob", "mail": "b@c.de"}, "mail": "a@b.org", "kind": 7})";

// The masks on the way of `text`, byte by byte, and why they end if they do.
std::vector<std::string> masks(const VocabRef& vocab, const Source& source, const Limits& limits,
                               std::string_view text, uint64_t fuel) {
  Compiler compiler(vocab, limits);
  std::vector<std::string> out;
  Result<CompiledRef> compiled = compiler.compile(source);
  if (!check(compiled.ok())) return out;
  MatcherOptions options;
  options.ahead_fuel = fuel;
  Matcher matcher = Matcher::make(*compiled, vocab->stop_ids(), options).take();
  std::vector<uint32_t> row((vocab->size() + 31) / 32);
  for (size_t i = 0; i <= text.size(); ++i) {
    Result<bool> filled = matcher.fill(row);
    if (!filled.ok()) {
      out.push_back(filled.status().limit + filled.status().text);
      break;
    }
    out.emplace_back(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(row[0]));
    if (i == text.size()) break;
    Result<bool> taken = matcher.accept(static_cast<uint8_t>(text[i]));
    if (!check(taken.ok() && *taken, std::string(text.substr(0, i + 1)))) break;
  }
  return out;
}

void masks_do_not_depend_on_it(const VocabRef& vocab) {
  Source schema;
  schema.kind = SourceKind::schema;
  schema.text = kMail;
  Source tag;
  tag.kind = SourceKind::tag;
  tag.text = std::string(R"({"type": "structural_tag", "format": {"type": "triggered_tags",
    "triggers": ["<function="], "tags": [{"begin": "<function=post>", "end": "</function>",
    "content": {"type": "json_schema", "json_schema": )") +
             kMail + "}}]}}";
  const std::string call = std::string("so <b, <function=post>") +
                           R"({"name": "Anna", "mail": "a@b.org"})" + "</function> <";
  for (const auto& [source, text] : {std::pair{schema, std::string(kMailText)}, {tag, call}}) {
    const std::vector<std::string> expected = masks(vocab, source, {}, text, 0);
    check(expected.size() == text.size() + 1);
    for (uint64_t fuel = 1; fuel < 1'000'000; fuel += fuel / 8 + 1) {
      check(masks(vocab, source, {}, text, fuel) == expected, "ahead fuel " + std::to_string(fuel));
    }
  }
}

// "x" has more alternatives than are allowed, which is found out once the object around it begins.
void errors_wait(const VocabRef& vocab) {
  Source source;
  source.kind = SourceKind::schema;
  source.text = R"({"type": "object", "required": ["name", "wide"], "additionalProperties": false,
    "properties": {"name": {"type": "string"}, "wide": {"type": "object", "properties": {"x":
      {"allOf": [{"anyOf": [{"minLength": 1}, {"maxLength": 8}, {"minimum": 2}]},
                 {"anyOf": [{"minLength": 2}, {"maxLength": 7}, {"minimum": 3}]},
                 {"anyOf": [{"minLength": 3}, {"maxLength": 6}, {"minimum": 4}]}]}}}}})";
  source.schema.declared_order = true;
  Limits limits;
  limits.branches = 8;
  const std::string_view text = R"({"name": "aaaaaaaaaaaaaaaaaaaa", "wide": {"x": 12}})";
  const std::vector<std::string> expected = masks(vocab, source, limits, text, 0);
  check(expected.size() > 30 && expected.back().starts_with("branches"));
  check(masks(vocab, source, limits, text, 1'000'000) == expected);
}

}  // namespace

int main() {
  const VocabRef vocab = vocabulary();
  masks_do_not_depend_on_it(vocab);
  errors_wait(vocab);
  return report();
}
