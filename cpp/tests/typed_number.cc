// The number leaf against brute force: every text over a small alphabet, for random sets.
//
// With few digits allowed the language is finite, so "some completion exists" is checked exactly:
// a live text is accepted or can be made longer, and a text with an accepted continuation is live.
#include <cstdint>
#include <string>
#include <vector>

#include "check.h"
#include "grammar/ir/store.h"
#include "grammar/typed/num.h"

using namespace treadle;
using namespace treadle::test;

namespace {

constexpr std::string_view kAlphabet = "-0125.e+";
constexpr int kDigits = 4;

Decimal decimal(const std::string& text) {
  return Decimal::parse(text).value_or(Decimal{});
}

bool is_json_number(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t start = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    return i - start;
  };
  size_t mantissa = 0;
  if (i < text.size() && text[i] == '-') ++i;
  const size_t whole = i;
  if ((mantissa = digits()) == 0 || (text[whole] == '0' && mantissa > 1)) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    const size_t fraction = digits();
    if (fraction == 0) return false;
    mantissa += fraction;
  }
  if (i < text.size() && text[i] == 'e') {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    const size_t exponent = digits();
    if (exponent == 0 || exponent > 3) return false;
  }
  return i == text.size();
}

// Unconstrained numbers count their digits on either side of the point alone.
bool is_long(std::string_view text) {
  const std::string_view mantissa = text.substr(0, text.find('e'));
  size_t digits = 0;
  for (const char c : mantissa) digits += c >= '0' && c <= '9';
  return digits > kDigits;
}

// value / step = digits × 10^(exponent - b) / a is whole.
bool is_multiple(const Decimal& value, const Step& step) {
  if (value.is_zero()) return true;
  int shift = value.exponent - step.b;
  uint64_t rest = natural::modulo(value.digits, step.a);
  if (shift < 0) return false;  // digits do not end in zero, and a is no multiple of ten
  for (; shift > 0 && rest != 0; --shift) rest = rest * 10 % step.a;
  return rest == 0;
}

// In range and a multiple, by arithmetic on scaled integers (values here are small).
bool belongs(const NumberSet& set, const std::string& text) {
  // Exponents here go beyond what a schema may write.
  const size_t e = text.find('e');
  Decimal value = decimal(text.substr(0, e));
  if (e != std::string::npos && !value.is_zero()) value.exponent += std::stoi(text.substr(e + 1));
  if (set.lo) {
    const int order = compare(value, set.lo->value);
    if (order < 0 || (order == 0 && set.lo->open)) return false;
  }
  if (set.hi) {
    const int order = compare(value, set.hi->value);
    if (order > 0 || (order == 0 && set.hi->open)) return false;
  }
  for (const Step& other : set.avoid) {
    if (is_multiple(value, other)) return false;
  }
  return set.step.a == 0 || is_multiple(value, set.step);
}

NumberSet random_set(Random& random) {
  static const std::vector<std::string> kBounds = {"-20",  "-2.5", "-1",  "-0.05", "0",
                                                   "0.05", "0.2",  "1",   "1.25",  "5",
                                                   "10",   "52",   "120", "1e3",   "2e-4"};
  static const std::vector<std::string> kSteps = {"1", "2",  "5",    "0.5", "0.1",
                                                  "3", "10", "0.25", "7"};
  const auto bound = [&] {
    return Bound{decimal(kBounds[random.below(static_cast<uint32_t>(kBounds.size()))]),
                 random.below(2) == 0};
  };
  NumberSet set;
  if (random.below(4) > 0) set.at_least(bound());
  if (random.below(4) > 0) set.at_most(bound());
  const auto step = [&] {
    return *Step::of(decimal(kSteps[random.below(static_cast<uint32_t>(kSteps.size()))]));
  };
  if (random.below(2)) set.step = step();
  for (uint32_t more = random.below(3); more > 1; --more) set.avoid.push_back(step());
  if (random.below(4) == 0) set.avoid.push_back(step());
  static constexpr Spelling kSpellings[] = {Spelling::any, Spelling::plain, Spelling::whole};
  set.spelling = kSpellings[random.below(3)];
  return set;
}

// Short texts only: no test here reaches the bound on digits.
bool allowed_spelling(const NumberSet& set, const std::string& text) {
  const bool integers = set.step.a != 0 && set.step.b >= 0;
  return set.spelling == Spelling::any || !integers || text.find_first_of(".eE") == text.npos;
}

// Walks every text up to `depth` letters; returns whether an accepted text lies below.
bool walk(Store& store, const NumberSet& set, NodeRef node, std::string& text, int depth) {
  const bool accepted = node != store.empty() && store.nullable(node);
  const bool expected = is_json_number(text) && belongs(set, text) && allowed_spelling(set, text);
  check(accepted == expected || (expected && is_long(text)), text);
  bool below = accepted;
  bool grows = false;
  if (depth > 0) {
    for (const char letter : kAlphabet) {
      const NodeRef next =
          node == store.empty() ? node : store.derive(node, static_cast<uint8_t>(letter));
      if (node == store.empty()) continue;
      grows |= next != store.empty();
      if (next == store.empty() && depth < 4) continue;  // dead: looked into near the root only
      text.push_back(letter);
      const bool hit = walk(store, set, next, text, depth - 1);
      text.pop_back();
      check(!hit || next != store.empty(), text);
      below |= hit;
    }
    if (node != store.empty()) {
      for (const char letter : std::string_view("346789E")) {
        grows |= store.derive(node, static_cast<uint8_t>(letter)) != store.empty();
      }
      check(accepted || grows, "stuck at " + text);
    }
  }
  return below;
}

void texts_against_arithmetic() {
  Random random(2026);
  for (int round = 0; round < 60; ++round) {
    Limits limits;
    limits.number_digits = kDigits;
    Store store(limits);
    const NumberSet set = random_set(random);
    const NodeRef node = number_node(store, set);
    std::string text;
    walk(store, set, node, text, 5);
    // Longer texts, at random, down to the end of the finite language.
    for (int tries = 0; tries < 200 && node != store.empty(); ++tries) {
      NodeRef at = node;
      std::string longer;
      for (int length = 0; length < 16; ++length) {
        std::vector<char> open;
        for (const char letter : std::string_view("-0123456789.eE+")) {
          if (store.derive(at, static_cast<uint8_t>(letter)) != store.empty())
            open.push_back(letter);
        }
        const bool accepted = store.nullable(at);
        check(accepted || !open.empty(), "stuck at " + longer);
        std::string plain = longer;
        for (char& letter : plain) letter = letter == 'E' ? 'e' : letter;
        const bool expected =
            is_json_number(plain) && belongs(set, plain) && allowed_spelling(set, plain);
        check(accepted == expected || (expected && is_long(plain)), longer);
        if (open.empty()) break;
        longer.push_back(open[random.below(static_cast<uint32_t>(open.size()))]);
        at = store.derive(at, static_cast<uint8_t>(longer.back()));
      }
    }
  }
}

void steps() {
  const auto step = [](const char* text) { return *Step::of(decimal(text)); };
  check(*step("0.1").with(step("1")) == step("1"));
  check(*step("6").with(step("4")) == step("12"));
  check(*step("0.6").with(step("0.25")) == step("3"));
  check(*step("1e-30").with(step("1")) == step("1"));
  check(*step("1e300").with(step("1e-300")) == step("1e300"));
  check(!step("999999999999999989").with(step("999999999999999967")));
  check(!Decimal::parse("1e401") && !Decimal::parse("1e-999999999999") && Decimal::parse("0e9999"));
  check(decimal("100e-2") == decimal("1.0") && decimal("-0.0") == decimal("0"));
  check(compare(decimal("-1e-5"), decimal("1e-9")) < 0);
  check(compare(decimal("0.30000000000000001"), decimal("0.3")) > 0);
}

}  // namespace

int main() {
  steps();
  texts_against_arithmetic();
  return report();
}
