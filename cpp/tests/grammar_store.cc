// Smart constructors and derivatives against finite languages: every node is built twice, once in
// the store and once as the set of its strings of at most kLength letters over {a, b}.
#include <bitset>
#include <string>
#include <vector>

#include "check.h"
#include "grammar/ir/store.h"

using namespace treadle;
using namespace treadle::test;

namespace {

constexpr size_t kLength = 5;
constexpr size_t kStrings = 63;  // 1 + 2 + 4 + ... + 32
using Language = std::bitset<kStrings>;

std::string spell(size_t index) {  // strings in order of length, then alphabet
  std::string out;
  for (; index > 0; index = (index - 1) / 2) out.insert(out.begin(), (index - 1) % 2 ? 'b' : 'a');
  return out;
}

size_t index_of(const std::string& text) {
  size_t index = 0;
  for (char c : text) index = index * 2 + 1 + (c == 'b');
  return index;
}

Language concat(const Language& x, const Language& y) {
  Language out;
  for (size_t i = 0; i < kStrings; ++i) {
    for (size_t j = 0; x[i] && j < kStrings; ++j) {
      if (!y[j]) continue;
      std::string text = spell(i) + spell(j);
      if (text.size() <= kLength) out.set(index_of(text));
    }
  }
  return out;
}

Language repeat(const Language& x, uint32_t lo, uint32_t hi) {
  Language power;
  power.set(0);
  Language out;
  // Past kLength + lo rounds nothing new can appear within the length.
  for (uint32_t i = 0; i <= std::min<uint32_t>(hi, lo + kLength); ++i) {
    if (i >= lo) out |= power;
    power = concat(power, x);
  }
  return out;
}

struct Pair {
  NodeRef node;
  Language language;
};

Pair random_pair(Store& store, Random& random, int depth) {
  uint32_t pick = random.below(depth == 0 ? 4 : 10);
  Language language;
  if (pick == 0) {
    language.set(0);
    return {store.eps(), language};
  }
  if (pick < 4) {
    std::string text;
    for (uint32_t n = 1 + random.below(2); n > 0; --n) text += random.below(2) ? 'a' : 'b';
    if (pick == 3) {
      language.set(1).set(2);
      return {store.byte_set(ByteSet::range('a', 'b')), language};
    }
    language.set(index_of(text));
    return {store.bytes(text), language};
  }
  Pair x = random_pair(store, random, depth - 1);
  if (pick == 4) {
    uint32_t lo = random.below(3);
    uint32_t hi = random.below(4) == 0 ? kOpen : lo + random.below(3);
    return {store.repeat(x.node, lo, hi), repeat(x.language, lo, hi)};
  }
  if (pick == 5) return {store.complement(x.node), ~x.language};
  Pair y = random_pair(store, random, depth - 1);
  if (pick == 6) return {store.both(x.node, y.node), x.language & y.language};
  if (pick < 9) return {store.cat(x.node, y.node), concat(x.language, y.language)};
  return {store.alt(x.node, y.node), x.language | y.language};
}

void test_random_languages() {
  for (uint64_t seed = 0; seed < 1500; ++seed) {
    Random random(seed);
    Store store;
    Pair pair = random_pair(store, random, 4);
    std::string name = "seed " + std::to_string(seed);
    for (size_t i = 0; i < kStrings; ++i) {
      check(store.matches(pair.node, spell(i)) == pair.language[i], name + " on " + spell(i));
    }
    Fuel fuel("compile_fuel", 1 << 20);
    Result<bool> live = store.live(pair.node, fuel);
    if (check(live.ok(), name) && pair.language.any()) check(*live, name);
    for (size_t i = 0; i < 31; ++i) {  // the class of a byte never changes the derivative
      NodeRef at = store.derive(pair.node, spell(i));
      ByteSet same = store.same(at, 'a');
      NodeRef rest = store.derive(at, 'a');
      same.each([&](uint8_t byte) { check(store.derive(at, byte) == rest, name); });
      if (rest != store.empty()) check(store.first(at).contains('a'), name);
    }
  }
}

void test_normal_forms() {
  Store s;
  NodeRef a = s.bytes("a");
  NodeRef b = s.bytes("b");
  NodeRef x = s.bytes("xy");
  check(s.star(s.star(x)) == s.star(x));
  check(s.star(s.plus(x)) == s.star(x));
  check(s.plus(s.optional(x)) == s.star(x));
  check(s.repeat(s.repeat(x, 0, 3), 0, 5) == s.repeat(x, 0, 15));
  check(s.cat(s.bytes("ab"), s.bytes("cd")) == s.bytes("abcd"));
  check(s.alt(a, b) == s.byte_set(ByteSet::range('a', 'b')));
  check(s.alt(x, a) == s.alt(a, x));
  check(s.alt(s.repeat(x, 0, 3), s.repeat(x, 2, 9)) == s.repeat(x, 0, 9));
  check(s.cat(x, s.repeat(x, 2, 9)) == s.repeat(x, 3, 10));
  check(s.alt(s.eps(), s.plus(x)) == s.star(x));
  check(s.complement(s.complement(x)) == x);
  check(s.both(x, s.complement(s.empty())) == x);
  NodeRef low = s.repeat(s.byte_set(ByteSet::range('a', 'm')), 2, 9);
  NodeRef mid = s.repeat(s.byte_set(ByteSet::range('k', 'z')), 4, kOpen);
  check(s.both(low, mid) == s.repeat(s.byte_set(ByteSet::range('k', 'm')), 4, 9));
  std::string text(200, 'q');
  check(s.matches(s.bytes(text), text) && !s.matches(s.bytes(text), text + "q"));
}

void test_liveness() {
  Store s;
  Fuel fuel("compile_fuel", 1 << 20);
  auto text = [&](uint32_t lo, uint32_t hi) { return s.repeat(s.any_char(), lo, hi); };
  NodeRef words = s.plus(s.bytes("ab"));
  check(*s.live(s.both(words, text(4, 4)), fuel));
  check(!*s.live(s.both(words, text(5, 5)), fuel));
  check(!*s.live(s.both(words, s.complement(words)), fuel));
  RuleId loop = s.declare("loop");
  s.define(loop, s.cat(s.bytes("("), s.ref(loop)));  // never closes
  check(!*s.live(s.ref(loop), fuel));
  s.define(loop, s.alt(s.cat(s.bytes("("), s.ref(loop)), s.bytes(")")));
  check(*s.live(s.ref(loop), fuel));
}

void test_budgets() {
  Limits limits;
  limits.ir_nodes = 100;
  Store store(limits);
  for (int i = 0; i < 200 && store.ok(); ++i) store.bytes("node " + std::to_string(i));
  check(store.fault().code == Code::limit_exceeded && store.fault().limit == "ir_nodes");

  Store deep;
  std::vector<NodeRef> parts(100000, deep.optional(deep.bytes("a")));
  for (size_t i = 0; i < parts.size(); i += 2) parts[i] = deep.optional(deep.bytes("b"));
  NodeRef chain = deep.concat(parts);
  Fuel fuel("step_fuel", 1 << 20);
  deep.set_fuel(&fuel);
  NodeRef rest = deep.derive(deep.derive(chain, 'a'), 'b');
  check(rest != deep.empty() || deep.fault().limit == "step_fuel");
}

}  // namespace

int main() {
  test_normal_forms();
  test_liveness();
  test_budgets();
  test_random_languages();
  return report();
}
