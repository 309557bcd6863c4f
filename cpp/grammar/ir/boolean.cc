// Smart constructors for unions, intersections and complements.
#include <algorithm>
#include <tuple>

#include "grammar/ir/store.h"

namespace treadle {

// One choice of a union as head then tail, the head counted: head{lo,hi} tail.
struct Store::Term {
  NodeRef head, tail;
  uint32_t lo, hi;
  bool counted;  // the head is a repeat
  NodeRef node;  // the choice itself
};

// The bytes of a node that matches exactly one byte; false for all others.
bool Store::one_byte(NodeRef ref, ByteSet& out) const {
  const Node& node = nodes_[ref];
  if (node.kind == Kind::set) {
    out = sets_[node.a];
    return true;
  }
  if (node.kind == Kind::bytes && node.b == 1) {
    out = ByteSet::of(static_cast<uint8_t>(text_[node.a]));
    return true;
  }
  return false;
}

// [a]x | [b]x = [ab]x: branches that differ in one leading byte become one.
void Store::merge_sets(std::vector<NodeRef>& choices) {
  struct Branch {
    NodeRef tail;
    uint32_t at;
    auto operator<=>(const Branch&) const = default;
  };
  std::vector<Branch> branches;
  ByteSet lead;
  for (uint32_t i = 0; i < choices.size(); ++i) {
    const Node& node = nodes_[choices[i]];
    bool chained = node.kind == Kind::concat;
    if (!one_byte(chained ? node.a : choices[i], lead)) continue;
    if (branches.empty()) branches.reserve(choices.size() - i);
    branches.push_back({chained ? node.b : eps(), i});
  }
  std::sort(branches.begin(), branches.end());
  for (size_t i = 0; i + 1 < branches.size();) {
    const NodeRef tail = branches[i].tail;
    size_t end = i + 1;
    if (branches[end].tail != tail) {
      i = end;
      continue;
    }
    ByteSet all;
    for (end = i; end < branches.size() && branches[end].tail == tail; ++end) {
      NodeRef& choice = choices[branches[end].at];
      one_byte(nodes_[choice].kind == Kind::concat ? nodes_[choice].a : choice, lead);
      all |= lead;
      choice = empty();
    }
    choices[branches[i].at] = cat(byte_set(all), tail);
    i = end;
  }
  std::erase(choices, empty());
}

// x{a,b}y | x{c,d}y as one, wherever the two counts stand in otherwise equal sequences; empty()
// when they are no such sequences.
NodeRef Store::merge_chains(NodeRef x, NodeRef y) {
  std::vector<NodeRef> links;  // that both begin with
  while (x != y) {
    const Node a = nodes_[x];
    const Node b = nodes_[y];
    bool chained = a.kind == Kind::concat && b.kind == Kind::concat;
    if (chained && a.a == b.a) {
      links.push_back(a.a);
      x = a.b;
      y = b.b;
      continue;
    }
    if (chained && a.b != b.b) return empty();
    const Node left = chained ? nodes_[a.a] : a;
    const Node right = chained ? nodes_[b.a] : b;
    if (left.kind != Kind::repeat || right.kind != Kind::repeat || left.a != right.a)
      return empty();
    const Node& low = left.lo <= right.lo ? left : right;
    const Node& high = left.lo <= right.lo ? right : left;
    if (low.hi != kOpen && high.lo > low.hi + 1) return empty();
    x = y = repeat(left.a, low.lo, std::max(low.hi, high.hi));
    if (chained) x = y = cat(x, a.b);
  }
  if (!spend(links.size() + 1)) return empty();
  while (!links.empty()) {
    x = cat(links.back(), x);
    links.pop_back();
  }
  return x;
}

// The same behind equal heads. Without this, (.{1,63}a){1,127} would read a run of n `a` into n^2
// choices: so much of each word, so many words.
void Store::merge_tails(std::vector<Term>& terms) {
  std::sort(terms.begin(), terms.end(), [](const Term& x, const Term& y) {
    return std::tie(x.head, x.lo, x.hi, x.tail) < std::tie(y.head, y.lo, y.hi, y.tail);
  });
  size_t kept = 0;
  for (size_t i = 1; i < terms.size(); ++i) {
    Term& last = terms[kept];
    const Term& term = terms[i];
    bool alike = term.counted && last.counted && term.head == last.head && term.lo == last.lo &&
                 term.hi == last.hi;
    NodeRef tail = alike ? merge_chains(last.tail, term.tail) : empty();
    if (tail == empty()) {
      terms[++kept] = term;
      continue;
    }
    last.tail = tail;
    last.node = cat(repeat(last.head, last.lo, last.hi), tail);
  }
  terms.resize(kept + 1);
}

// x{a,b}y | x{c,d}y = x{min,max}y when the ranges touch. Without this, the derivatives of
// [a-z]{0,100}[a-z0-9]{0,100} would be unions that grow with every byte.
void Store::merge_repeats(std::vector<NodeRef>& choices) {
  const auto head_of = [&](NodeRef choice) {
    return nodes_[choice].kind == Kind::concat ? nodes_[choice].a : choice;
  };
  if (std::ranges::none_of(
          choices, [&](NodeRef choice) { return nodes_[head_of(choice)].kind == Kind::repeat; })) {
    return;
  }
  std::vector<Term> terms;
  terms.reserve(choices.size());
  for (NodeRef choice : choices) {
    const Node& node = nodes_[choice];
    bool chained = node.kind == Kind::concat;
    NodeRef head = head_of(choice);
    const Node& first = nodes_[head];
    bool counted = first.kind == Kind::repeat;
    terms.push_back({counted ? first.a : head, chained ? node.b : eps(), counted ? first.lo : 1,
                     counted ? first.hi : 1, counted, choice});
  }
  merge_tails(terms);
  std::sort(terms.begin(), terms.end(), [](const Term& x, const Term& y) {
    if (x.head != y.head) return x.head < y.head;
    if (x.tail != y.tail) return x.tail < y.tail;
    return x.lo < y.lo;
  });
  choices.clear();
  for (size_t i = 0; i < terms.size();) {
    Term merged = terms[i];
    size_t end = i + 1;
    for (; end < terms.size() && terms[end].head == merged.head && terms[end].tail == merged.tail &&
           (merged.hi == kOpen || terms[end].lo <= merged.hi + 1);
         ++end) {
      merged.hi = std::max(merged.hi, terms[end].hi);
    }
    choices.push_back(end == i + 1 ? merged.node
                                   : cat(repeat(merged.head, merged.lo, merged.hi), merged.tail));
    i = end;
  }
}

// eps beside x{1,b} makes x{0,b}; beside anything nullable it says nothing.
void Store::absorb_eps(std::vector<NodeRef>& choices) {
  auto found = std::find(choices.begin(), choices.end(), eps());
  if (found == choices.end()) return;
  for (NodeRef choice : choices) {
    if (choice != eps() && nodes_[choice].facts.nullable) {
      choices.erase(found);
      return;
    }
  }
  for (NodeRef& choice : choices) {
    const Node node = nodes_[choice];
    if (node.kind == Kind::repeat && node.lo == 1) {
      choice = repeat(node.a, 0, node.hi);
      choices.erase(found);
      return;
    }
  }
}

NodeRef Store::any_of(std::span<const NodeRef> parts) {
  std::vector<NodeRef> choices;
  choices.reserve(parts.size());
  for (NodeRef part : parts) {
    if (nodes_[part].kind == Kind::any_of) {
      choices.insert(choices.end(), children(part).begin(), children(part).end());
    } else if (part != empty()) {
      choices.push_back(part);
    }
  }
  constexpr uint64_t kSorted = 4;  // what one alternative costs beside a node that is touched
  if (choices.size() > 1 && !spend(kSorted * choices.size())) return empty();
  std::sort(choices.begin(), choices.end());
  choices.erase(std::unique(choices.begin(), choices.end()), choices.end());
  if (choices.size() > 1) {
    merge_sets(choices);
    merge_repeats(choices);
    absorb_eps(choices);
    flatten(choices);
  }
  if (choices.empty()) return empty();
  if (choices.size() == 1) return choices.front();
  Facts facts{.regular = true, .nullable = false, .plain = false};
  for (NodeRef choice : choices) {
    const Node& node = nodes_[choice];
    if (node.kind == Kind::repeat && node.lo == 0 && node.hi == kOpen &&
        nodes_[node.a].kind == Kind::set && sets_[nodes_[node.a].a] == ByteSet::all()) {
      return choice;  // every string at all
    }
    facts.regular &= node.facts.regular;
    facts.nullable |= node.facts.nullable;
    facts.plain |= node.facts.plain;
  }
  facts.nullable &= facts.regular;
  return make_list(Kind::any_of, facts, choices);
}

// Merging may have made unions again (an optional is one); opens them and sorts.
void Store::flatten(std::vector<NodeRef>& choices) {
  for (size_t i = 0; i < choices.size(); ++i) {
    if (nodes_[choices[i]].kind != Kind::any_of) continue;
    std::span<const NodeRef> inner = children(choices[i]);
    choices.insert(choices.end(), inner.begin() + 1, inner.end());
    choices[i] = inner.front();
  }
  std::sort(choices.begin(), choices.end());
  choices.erase(std::unique(choices.begin(), choices.end()), choices.end());
  std::erase(choices, empty());
}

NodeRef Store::alt(NodeRef a, NodeRef b) {
  if (a == b || b == empty()) return a;
  if (a == empty()) return b;
  NodeRef parts[] = {a, b};
  return any_of(parts);
}

NodeRef Store::both(NodeRef a, NodeRef b) {
  if (!regular(a) || !regular(b)) {
    fail(unsupported("", "an intersection takes parts without rules; expand the rules first"));
    return empty();
  }
  if (a == b) return a;
  if (a == empty() || b == empty()) return empty();
  std::vector<NodeRef> parts;
  for (NodeRef part : {a, b}) {
    if (nodes_[part].kind == Kind::both) {
      parts.insert(parts.end(), children(part).begin(), children(part).end());
    } else {
      parts.push_back(part);
    }
  }
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  return intersect(std::move(parts));
}

// C{a,b} & D{c,d} = (C & D){max,min} for sets of bytes; a bare set counts as C{1,1}.
bool Store::meet_runs(NodeRef x, NodeRef y, NodeRef& met) {
  auto run = [&](NodeRef ref, ByteSet& set, uint32_t& lo, uint32_t& hi) {
    const Node& node = nodes_[ref];
    lo = node.kind == Kind::repeat ? node.lo : 1;
    hi = node.kind == Kind::repeat ? node.hi : 1;
    return one_byte(node.kind == Kind::repeat ? node.a : ref, set);
  };
  ByteSet left;
  ByteSet right;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!run(x, left, a, b) || !run(y, right, c, d)) return false;
  met = repeat(byte_set(left & right), std::max(a, c), std::min(b, d));
  return true;
}

NodeRef Store::intersect(std::vector<NodeRef> parts) {
  if (!spend(parts.size())) return empty();
  for (size_t i = 0; i < parts.size(); ++i) {
    NodeRef part = parts[i];
    bool whole = part == eps() || nodes_[part].kind == Kind::bytes;
    if (!whole) continue;  // a literal either lies in all the others or nothing is left
    for (NodeRef other : parts) {
      bool inside = part == eps() ? nodes_[other].facts.nullable : matches(other, text(part));
      if (!inside) return empty();
    }
    return part;
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    for (size_t j = i + 1; j < parts.size();) {
      NodeRef met = empty();
      if (meet_runs(parts[i], parts[j], met)) {
        if (met == empty()) return empty();
        parts[i] = met;
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(j));
        j = i + 1;
      } else {
        ++j;
      }
    }
  }
  bool nullable = true;
  bool refused = false;  // some part other than "not empty" itself refuses the empty string
  for (NodeRef part : parts) {
    nullable &= nodes_[part].facts.nullable;
    refused |= !nodes_[part].facts.nullable && !not_empty(part);
  }
  NodeRef all = anything();
  std::erase_if(parts, [&](NodeRef part) { return part == all || (refused && not_empty(part)); });
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
  if (parts.empty()) return all;
  if (parts.size() == 1) return parts.front();
  return make_list(Kind::both, Facts{.regular = true, .nullable = nullable, .plain = false}, parts);
}

NodeRef Store::complement(NodeRef a) {
  if (!regular(a)) {
    fail(unsupported("", "a complement takes a part without rules; expand the rules first"));
    return empty();
  }
  if (a == empty()) return anything();
  if (a == anything()) return empty();
  const Node node = nodes_[a];
  if (node.kind == Kind::invert) return node.a;
  Facts facts{.regular = true, .nullable = !node.facts.nullable, .plain = false};
  return make(Kind::invert, facts, a);
}

}  // namespace treadle
