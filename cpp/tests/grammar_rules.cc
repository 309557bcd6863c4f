// Random context-free grammars, left recursion of every sort included, against their languages by
// Kleene iteration over sets of short strings. Then masks, history and budgets on the same engine.
#include <algorithm>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "check.h"
#include "grammar/run/matcher.h"

using namespace treadle;
using namespace treadle::test;

namespace {

constexpr size_t kLength = 6;

// A symbol: a letter, or a rule with a repetition {lo, hi}.
struct Symbol {
  char letter = 0;
  uint32_t rule = 0;
  uint32_t lo = 1, hi = 1;
};
using Production = std::vector<Symbol>;
using Rules = std::vector<std::vector<Production>>;
using Language = std::set<std::string>;

Language concat(const Language& x, const Language& y) {
  Language out;
  for (const std::string& a : x) {
    for (const std::string& b : y) {
      if (a.size() + b.size() <= kLength) out.insert(a + b);
    }
  }
  return out;
}

std::vector<Language> languages(const Rules& rules) {
  std::vector<Language> out(rules.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < rules.size(); ++i) {
      for (const Production& production : rules[i]) {
        Language text{""};
        for (const Symbol& symbol : production) {
          Language once =
              symbol.letter ? Language{std::string(1, symbol.letter)} : out[symbol.rule];
          Language power{""};
          Language some;
          for (uint32_t n = 0; n <= std::min<uint32_t>(symbol.hi, symbol.lo + kLength); ++n) {
            if (n >= symbol.lo) some.insert(power.begin(), power.end());
            power = concat(power, once);
          }
          text = concat(text, some);
        }
        size_t before = out[i].size();
        out[i].insert(text.begin(), text.end());
        changed |= out[i].size() > before;
      }
    }
  }
  return out;
}

Rules random_rules(Random& random) {
  Rules rules(1 + random.below(4));
  for (auto& productions : rules) {
    productions.resize(1 + random.below(3));
    for (Production& production : productions) {
      production.resize(random.below(4));
      for (Symbol& symbol : production) {
        if (random.below(2)) {
          symbol.letter = random.below(2) ? 'a' : 'b';
        } else {
          symbol.rule = random.below(static_cast<uint32_t>(rules.size()));
          if (random.below(5) == 0) {
            symbol.lo = random.below(3);
            symbol.hi = random.below(3) == 0 ? kOpen : symbol.lo + random.below(2);
          }
        }
      }
    }
  }
  return rules;
}

NodeRef build(Store& store, const Rules& rules) {
  for (size_t i = 0; i < rules.size(); ++i) store.declare("r" + std::to_string(i));
  for (size_t i = 0; i < rules.size(); ++i) {
    std::vector<NodeRef> choices;
    for (const Production& production : rules[i]) {
      std::vector<NodeRef> parts;
      for (const Symbol& symbol : production) {
        NodeRef part =
            symbol.letter ? store.bytes(std::string(1, symbol.letter)) : store.ref(symbol.rule);
        parts.push_back(store.repeat(part, symbol.lo, symbol.hi));
      }
      choices.push_back(store.concat(parts));
    }
    store.define(static_cast<RuleId>(i), store.any_of(choices));
  }
  return store.ref(0);
}

VocabRef vocabulary(const std::vector<std::string>& texts) {
  std::vector<TokenSpec> specs;
  for (const std::string& text : texts) specs.push_back({.bytes = text, .kind = TokenKind::text});
  specs.push_back({.bytes = "</s>", .kind = TokenKind::control});
  VocabOptions options;
  options.stop_ids = {static_cast<TokenId>(texts.size())};
  options.size = static_cast<uint32_t>(specs.size()) + 3;  // padded
  return Vocab::build(specs, options).take();
}

const std::vector<std::string> kTexts = {"a",   "b",    "ab", "ba",   "aa", "bb",
                                         "aab", "abab", "ab", "bbbb", "",   "x"};

std::vector<std::string> strings() {
  std::vector<std::string> out{""};
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].size() == kLength) continue;
    out.push_back(out[i] + "a");
    out.push_back(out[i] + "b");
  }
  return out;
}

// False when no accepting state can be reached. A search that grows too large proves nothing.
bool completable(States& states, StateId from) {
  Fuel fuel("step_fuel", 1 << 24);
  std::deque<StateId> queue{from};
  std::set<StateId> seen{from};
  while (!queue.empty()) {
    StateId at = queue.front();
    queue.pop_front();
    if (states.accepting(at) || seen.size() > 3000) return true;
    for (uint8_t byte : {'a', 'b'}) {
      StateId to = states.next(at, byte, fuel);
      if (to == kFault) return states.take_fault().limit == "configs";
      if (to != kDeadState && seen.insert(to).second) queue.push_back(to);
    }
  }
  return false;
}

// Invariants 1, 3, 4 and 6 of the design at the matcher's present state.
void check_mask(Matcher& matcher, const std::string& name) {
  const Vocab& vocab = matcher.compiled().vocab();
  std::vector<uint32_t> row((vocab.size() + 31) / 32 + 1, 0xFFFFFFFF);
  Result<bool> masked = matcher.fill(row);
  if (!masked.ok()) {  // longer tokens may meet the one excuse of test_random_rules
    check(masked.status().limit == "configs", name + " fill");
    return;
  }
  check(*masked && row.back() == 0, name);
  for (TokenId token = 0; token < vocab.size() + 2; ++token) {
    bool bit = token < vocab.size() && (row[token >> 5] >> (token & 31) & 1);
    bool byte_wise = vocab.is_text(token);
    Matcher bytes = matcher.fork();
    bool crowded = false;  // a mask follows readings one by one, a state holds them all at once
    for (size_t i = 0; byte_wise && i < vocab.bytes(token).size(); ++i) {
      Result<bool> taken = bytes.accept_bytes(vocab.bytes(token).substr(i, 1));
      crowded = !taken.ok();
      if (crowded) break;
      byte_wise = *taken;
    }
    if (crowded) {
      check(bytes.error().limit == "configs", name + " accept");
      continue;
    }
    bool stop = std::ranges::count(vocab.stop_ids(), token) > 0;
    if (stop) byte_wise = matcher.accepting();
    check(bit == byte_wise, name + " token " + std::to_string(token));
    Matcher fork = matcher.fork();
    uint64_t steps = matcher.steps();
    check(*fork.accept(token) == bit, name);
    check(matcher.steps() == steps && fork.steps() == steps + bit, name);
    check(*matcher.validate(std::vector<TokenId>{token}) == bit, name);
    check(fork.finished() == (stop && bit), name);
    if (bit) check(fork.rollback(1).ok() && !fork.finished(), name);
  }
}

void test_random_rules() {
  VocabRef vocab = vocabulary(kTexts);
  uint32_t refused = 0;
  uint32_t crowded = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    Random random(seed);
    Rules rules = random_rules(random);
    Language language = languages(rules)[0];
    std::string name = "seed " + std::to_string(seed);
    Limits limits;
    limits.configs = 2048;
    auto store = std::make_unique<Store>(limits);
    NodeRef root = build(*store, rules);
    Result<CompiledRef> compiled = Compiled::build(std::move(store), root, vocab,
                                                   MaskMemos::within(limits.cache_bytes), limits);
    if (!compiled.ok()) {
      check(compiled.status().reason == Reason::unsatisfiable && language.empty(),
            name + " " + compiled.status().text);
      ++refused;
      continue;
    }
    Matcher matcher = Matcher::make(*compiled, vocab->stop_ids()).take();
    bool dense = false;
    for (const std::string& text : strings()) {
      matcher.reset();
      Result<bool> taken = matcher.accept_bytes(text);
      if (!taken.ok()) {  // too many readings of one text is the one excuse
        check(taken.status().limit == "configs", name);
        dense = true;
        ++crowded;
        break;
      }
      bool member = *taken && matcher.accepting();
      check(member == (language.count(text) > 0), name + " on " + text);
      bool prefix = std::ranges::any_of(
          language, [&](const std::string& other) { return other.starts_with(text); });
      if (prefix) check(*taken, name + " prefix " + text);
      if (*taken && text.size() < 3 && seed % 4 == 0) check_mask(matcher, name + " at " + text);
    }
    if (seed % 4 == 0 && !dense) {
      Fuel fuel("step_fuel", 1 << 20);
      StateId at = (*compiled)->states().start();
      for (int i = 0; i < 8 && at != kDeadState && at != kFault; ++i) {
        check(completable((*compiled)->states(), at), name + " has a dead end");
        at = (*compiled)->states().next(at, random.below(2) ? 'a' : 'b', fuel);
      }
    }
  }
  check(refused > 0 && crowded < 18, std::to_string(crowded) + " grammars too ambiguous");
}

Result<CompiledRef> compile(VocabRef vocab, const Limits& limits, auto make) {
  auto store = std::make_unique<Store>(limits);
  NodeRef root = make(*store);
  return Compiled::build(std::move(store), root, std::move(vocab),
                         MaskMemos::within(limits.cache_bytes), limits);
}

// e ::= e "+" t | t; t ::= t "*" f | f; f ::= "(" e ")" | "x": the textbook case, at length.
void test_left_recursion_is_flat() {
  VocabRef vocab = vocabulary({"x", "+", "*", "(", ")", "x+", "+x*"});
  auto compiled = compile(vocab, {}, [](Store& s) {
    RuleId e = s.declare("e"), t = s.declare("t"), f = s.declare("f");
    NodeRef sum[] = {s.ref(e), s.bytes("+"), s.ref(t)};
    NodeRef product[] = {s.ref(t), s.bytes("*"), s.ref(f)};
    NodeRef group[] = {s.bytes("("), s.ref(e), s.bytes(")")};
    s.define(e, s.alt(s.concat(sum), s.ref(t)));
    s.define(t, s.alt(s.concat(product), s.ref(f)));
    s.define(f, s.alt(s.concat(group), s.bytes("x")));
    return s.ref(e);
  });
  Matcher matcher = Matcher::make(*compiled, vocab->stop_ids()).take();
  std::string text = "x";
  for (int i = 0; i < 2000; ++i) text += i % 3 ? "+x" : "*(x+x)";
  check(*matcher.accept_bytes(text) && matcher.accepting());
  check((*compiled)->states().size() < 40);  // states do not grow with the text
  check(!*matcher.accept_bytes(")"));
}

void test_history() {
  VocabRef vocab = vocabulary(kTexts);
  auto compiled = compile(
      vocab, {}, [](Store& s) { return s.repeat(s.byte_set(ByteSet::range('a', 'b')), 0, 1000); });
  Matcher matcher = Matcher::make(*compiled, vocab->stop_ids()).take();
  for (int i = 0; i < 500; ++i) check(*matcher.accept(2));
  check(!*matcher.accept(0) && matcher.steps() == 500);
  Matcher fork = matcher.fork();
  check(matcher.rollback(2).ok() && *matcher.accept(0) && fork.steps() == 500);
  check(!*fork.accept(0) && *matcher.accept(0));
  check(fork.rollback(100).ok() && fork.rollback(150).ok() && fork.steps() == 250);
  check(fork.rollback(251).code == Code::invalid_request && fork.steps() == 250);
  fork.reset();
  check(fork.steps() == 0 && matcher.steps() == 500);
}

void test_forced_and_stuck() {
  VocabRef vocab = vocabulary({"a", "b"});
  auto make = [](Store& s) {
    return s.concat(std::vector<NodeRef>{s.bytes("ab"), s.repeat(s.bytes("ba"), 2, 3),
                                         s.byte_set(ByteSet::range('x', 'y'))});
  };
  auto compiled = compile(vocab, {}, make);
  Matcher matcher = Matcher::make(*compiled, vocab->stop_ids()).take();
  check(*matcher.forced() == "abbaba");
  check(*matcher.accept_bytes("abbababa") && *matcher.forced() == "");
  std::vector<uint32_t> row(1);
  Result<bool> filled = matcher.fill(row);  // only x or y can follow, and no token spells them
  check(!filled.ok() && filled.status().reason == Reason::stuck);
  check(!matcher.accept(0).ok());  // the error sticks
  check(matcher.rollback(1).ok() && matcher.fill(row).ok());
}

void test_budgets() {
  VocabRef vocab = vocabulary({"(", ")", "a"});
  Limits limits;
  limits.stack_depth = 50;
  auto nested = [](Store& s) {
    RuleId rule = s.declare("nested");
    NodeRef group[] = {s.bytes("("), s.ref(rule), s.bytes(")")};
    s.define(rule, s.alt(s.concat(group), s.bytes("a")));
    return s.ref(rule);
  };
  auto compiled = compile(vocab, limits, nested);
  Matcher matcher = Matcher::make(*compiled, vocab->stop_ids()).take();
  Matcher other = matcher.fork();
  check(matcher.accept_bytes(std::string(60, '(')).status().limit == "stack_depth");
  check(matcher.accept(0).status().limit == "stack_depth");
  check(*other.accept_bytes("((a))") && other.accepting());
  limits.step_fuel = 2;
  auto starved = compile(vocab, limits, nested);
  Matcher third = Matcher::make(*starved, vocab->stop_ids()).take();
  std::vector<uint32_t> row(1);
  check(third.fill(row).status().limit == "step_fuel");
  auto huge = compile(
      vocab, {}, [](Store& s) { return s.repeat(s.repeat(s.bytes("a"), 2, 1000000000), 1, 4); });
  Matcher fourth = Matcher::make(*huge, vocab->stop_ids()).take();
  check(*fourth.accept_bytes(std::string(5000, 'a')) && fourth.accepting());
}

// A grammar of many states under a tiny cache: rows and masks are dropped and rebuilt.
void test_small_cache() {
  VocabRef vocab = vocabulary(kTexts);
  Limits limits;
  limits.cache_bytes = 4096;
  auto compiled = compile(vocab, limits, [](Store& s) {
    return s.repeat(s.byte_set(ByteSet::range('a', 'b')), 40, 5000);
  });
  Matcher matcher = Matcher::make(*compiled, vocab->stop_ids()).take();
  uint64_t before = (*compiled)->states().epoch();
  for (int i = 0; i < 2500; ++i) {
    if (i % 50 == 0) check_mask(matcher, "small cache");
    check(*matcher.accept(static_cast<TokenId>(i % 6)));
  }
  check((*compiled)->states().epoch() > before + 1);
}

}  // namespace

int main() {
  test_left_recursion_is_flat();
  test_history();
  test_forced_and_stuck();
  test_budgets();
  test_small_cache();
  test_random_rules();
  return report();
}
