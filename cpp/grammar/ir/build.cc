// Smart constructors: literals, sets, sequences, repetitions, rules. Unions and intersections are
// in boolean.cc. Each returns an equal or simpler node, so that equal languages often meet.
#include <algorithm>

#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "support/hash.h"

namespace treadle {

namespace {

// a + b, unless the sum leaves the range of finite bounds.
bool add_bounds(uint32_t a, uint32_t b, uint32_t& sum) {
  sum = kOpen;
  if (a == kOpen || b == kOpen) return true;
  uint64_t wide = uint64_t{a} + b;
  if (wide >= kOpen) return false;
  sum = static_cast<uint32_t>(wide);
  return true;
}

bool multiply_bounds(uint32_t a, uint32_t b, uint32_t& product) {
  product = kOpen;
  if (a == kOpen || b == kOpen) return true;
  uint64_t wide = uint64_t{a} * b;
  if (wide >= kOpen) return false;
  product = static_cast<uint32_t>(wide);
  return true;
}

}  // namespace

NodeRef Store::make_bytes(uint32_t offset, uint32_t length) {
  Facts facts{.regular = true, .nullable = false, .plain = true};
  return make(Kind::bytes, facts, offset, length);
}

// One literal node of at most kLiteral bytes; the text is kept only when the node is new.
NodeRef Store::literal(std::string_view text) {
  auto offset = static_cast<uint32_t>(text_.size());
  text_.append(text);
  uint32_t before = size();
  NodeRef ref = make_bytes(offset, static_cast<uint32_t>(text.size()));
  if (size() == before) text_.resize(offset);
  return ref;
}

NodeRef Store::bytes(std::string_view text) {
  if (text.size() >= kOpen - text_.size()) {
    fail(limit_exceeded("source_bytes", static_cast<double>(text.size()), kOpen));
    return empty();
  }
  NodeRef tail = eps();
  size_t chunks = (text.size() + kLiteral - 1) / kLiteral;
  while (chunks-- > 0) tail = prepend(literal(text.substr(chunks * kLiteral, kLiteral)), tail);
  return tail;
}

NodeRef Store::byte_set(const ByteSet& set) {
  unsigned count = set.count();
  if (count == 0) return empty();
  if (count == 1) {
    char byte = static_cast<char>(set.lowest());
    return literal(std::string_view(&byte, 1));
  }
  const auto index = static_cast<uint32_t>(sets_.size());
  sets_.push_back(set);
  const uint32_t before = size();
  const Facts facts{.regular = true, .nullable = false, .plain = true};
  const NodeRef ref = make(Kind::set, facts, index);
  if (size() == before) sets_.pop_back();  // it was there already, or it did not fit
  return ref;
}

NodeRef Store::any_byte() {
  return byte_set(ByteSet::all());
}

NodeRef Store::anything() {
  return star(any_byte());
}

NodeRef Store::chars(const CharSet& set) {
  std::vector<Utf8Sequence> sequences = utf8_sequences(set);
  return utf8(sequences, 0);
}

// Sequences that share a first range become one branch, so that the union merges equal branches.
// The depth of the recursion is the length of a UTF-8 sequence.
NodeRef Store::utf8(std::span<const Utf8Sequence> sequences, uint8_t at) {
  std::vector<NodeRef> choices;
  size_t begin = 0;
  while (begin < sequences.size()) {
    if (sequences[begin].size == at) return eps();
    ByteRange lead = sequences[begin].bytes[at];
    size_t end = begin + 1;
    while (end < sequences.size() && sequences[end].size > at && sequences[end].bytes[at] == lead) {
      ++end;
    }
    NodeRef rest = utf8(sequences.subspan(begin, end - begin), static_cast<uint8_t>(at + 1));
    choices.push_back(cat(byte_set(ByteSet::range(lead.lo, lead.hi)), rest));
    begin = end;
  }
  return any_of(choices);
}

NodeRef Store::any_char() {
  if (any_char_ == empty()) any_char_ = chars(CharSet::any());
  return any_char_;
}

NodeRef Store::any_text() {
  return star(any_char());
}

NodeRef Store::concat(std::span<const NodeRef> parts) {
  NodeRef tail = eps();
  for (size_t i = parts.size(); i-- > 0;) tail = cat(parts[i], tail);
  return tail;
}

NodeRef Store::cat(NodeRef a, NodeRef b) {
  if (a == empty() || b == empty()) return empty();
  if (nodes_[a].kind != Kind::concat) return prepend(a, b);
  std::vector<NodeRef> heads;
  for (; nodes_[a].kind == Kind::concat; a = nodes_[a].b) heads.push_back(nodes_[a].a);
  NodeRef tail = prepend(a, b);
  for (size_t i = heads.size(); i-- > 0;) tail = prepend(heads[i], tail);
  return tail;
}

// x{a,b} x{c,d} = x{a+c,b+d}, where a bare x counts as x{1,1}. False when the two do not meet.
bool Store::join(NodeRef head, NodeRef next, NodeRef& joined) {
  const Node left = nodes_[head];
  const Node right = nodes_[next];
  bool left_counts = left.kind == Kind::repeat;
  bool right_counts = right.kind == Kind::repeat;
  if (!left_counts && !right_counts) return false;
  NodeRef base = left_counts ? left.a : head;
  if (base != (right_counts ? right.a : next)) return false;
  uint32_t lo = 0;
  uint32_t hi = 0;
  if (!add_bounds(left_counts ? left.lo : 1, right_counts ? right.lo : 1, lo)) return false;
  if (!add_bounds(left_counts ? left.hi : 1, right_counts ? right.hi : 1, hi)) return false;
  joined = repeat(base, lo, hi);
  return true;
}

NodeRef Store::prepend(NodeRef head, NodeRef tail) {
  if (head == empty() || tail == empty()) return empty();
  if (head == eps()) return tail;
  if (tail == eps()) return head;
  bool chained = nodes_[tail].kind == Kind::concat;
  NodeRef next = chained ? nodes_[tail].a : tail;
  NodeRef rest = chained ? nodes_[tail].b : eps();
  if (nodes_[head].kind == Kind::bytes && nodes_[next].kind == Kind::bytes &&
      nodes_[head].b + nodes_[next].b <= kLiteral) {
    std::string joined(text(head));
    joined += text(next);
    return prepend(literal(joined), rest);
  }
  NodeRef joined = empty();
  if (join(head, next, joined)) return prepend(joined, rest);
  const Facts x = nodes_[head].facts;
  const Facts y = nodes_[tail].facts;
  bool regular = x.regular && y.regular;
  Facts facts{.regular = regular,
              .nullable = regular && x.nullable && y.nullable,
              .plain = x.plain && y.plain};
  return make(Kind::concat, facts, head, tail);
}

// (x{p,q}){a,b} is x{ap,bq} when the ranges [np,nq] of all rounds n from a to b leave no gap; the
// first gap, if any, lies between a and a + 1 rounds. No rounds at all are put beside the others.
bool Store::fuse_counts(const Node& inner, uint32_t lo, uint32_t hi, NodeRef& fused) {
  uint32_t rounds = std::max(lo, 1u);
  uint32_t reach = 0;  // the most x in that many rounds
  uint32_t least = 0;
  uint32_t most = 0;
  if (!multiply_bounds(inner.hi, rounds, reach) || !multiply_bounds(inner.lo, rounds, least) ||
      !multiply_bounds(inner.hi, hi, most)) {
    return false;
  }
  bool gap = rounds < hi && reach != kOpen && uint64_t{reach} + 1 < uint64_t{least} + inner.lo;
  if (gap) return false;
  fused = repeat(inner.a, least, most);
  if (lo == 0) fused = alt(eps(), fused);
  return true;
}

NodeRef Store::repeat(NodeRef a, uint32_t lo, uint32_t hi) {
  if (lo > hi) return empty();
  if (hi == 0 || a == eps()) return eps();
  if (a == empty()) return lo == 0 ? eps() : empty();
  if (nodes_[a].facts.nullable) lo = 0;
  if (nodes_[a].kind == Kind::any_of && children(a).front() == eps()) {  // (x | eps){a,b} = x{0,b}
    std::vector<NodeRef> rest(children(a).begin() + 1, children(a).end());
    a = any_of(rest);
    lo = 0;
  }
  if (lo == 1 && hi == 1) return a;
  const Node inner = nodes_[a];
  if (inner.kind == Kind::repeat) {
    NodeRef fused = empty();
    if (fuse_counts(inner, lo, hi, fused)) return fused;
  }
  if (lo == 0 && hi == 1) return alt(eps(), a);
  Facts facts{.regular = inner.facts.regular,
              .nullable = inner.facts.regular && (lo == 0 || inner.facts.nullable),
              .plain = lo == 0 || inner.facts.plain};
  return make(Kind::repeat, facts, a, 0, lo, hi);
}

bool Store::special(std::string_view name) {
  if (specials_) return specials_(name);
  asked_special_.emplace(name);
  return false;
}

NodeRef Store::tokens(TokenSet set) {
  const auto tidy = [](auto& list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  tidy(set.ids);
  tidy(set.names);
  if (!set.negated && set.ids.empty() && set.names.empty()) return empty();
  uint64_t h = set.negated ? 1 : 0;
  uint64_t held = sizeof(TokenSet) + set.ids.size() * sizeof(uint32_t);
  for (uint32_t id : set.ids) h = mix(h, id);
  for (const std::string& name : set.names) {
    h = hash_bytes(name, h);
    held += sizeof(std::string) + name.size();
  }
  std::vector<uint32_t>& same_hash = token_set_index_[h];
  uint32_t index = UINT32_MAX;
  for (uint32_t candidate : same_hash) {
    if (token_sets_[candidate] == set) index = candidate;
  }
  if (index == UINT32_MAX) {
    if (!spend(1 + held / 64)) return empty();
    index = static_cast<uint32_t>(token_sets_.size());
    token_sets_.push_back(std::move(set));
    same_hash.push_back(index);
    token_bytes_ += held;
  }
  return make(Kind::token, Facts{.regular = false, .nullable = false, .plain = true}, index);
}

RuleId Store::declare(std::string name) {
  spend(1);
  rules_.push_back(Rule{.name = std::move(name)});
  return static_cast<RuleId>(rules_.size() - 1);
}

void Store::define(RuleId rule, NodeRef body) {
  rules_[rule].body = body;
  if (!asked_) return;
  nullables_.clear();  // these answers may have looked into the old body
  for (Node& node : nodes_) node.live = 0;
  asked_ = false;
}

NodeRef Store::ref(RuleId rule) {
  return make(Kind::ref, Facts{.regular = false, .nullable = false, .plain = false}, rule);
}

}  // namespace treadle
