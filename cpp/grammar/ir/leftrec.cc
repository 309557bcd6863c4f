// A group of rules A1..An that begin with one another is rewritten together. Read each body as
//   Ai = eps?  |  Aj x ...  |  y ...
// with Aj and y not empty here, y not beginning with a rule of the group. Then
//   Ai  = eps?  |  y R(j,i)        for every y of every Aj
//   Rji = eps (if j = i)  |  x R(l,i)   for every Al = Aj x ...
// where R(j,i) reads "an Aj is complete; go on until an Ai is". R recurses on the right only, and
// y reads a byte before it, so a closure that pushes R ends. This is the left-corner transform
// (Rosenkrantz and Lewis, 1970) on bodies without empty heads.
#include "grammar/ir/leftrec.h"

#include <algorithm>
#include <unordered_set>

namespace treadle {

namespace {

uint64_t pair_key(uint32_t a, uint32_t b) {
  return uint64_t{a} << 32 | b;
}

class LeftRecursion {
 public:
  LeftRecursion(Store& store, Fuel& fuel) : store_(store), fuel_(fuel) {}

  Status run(NodeRef root) {
    collect(root);
    corners_.resize(store_.rule_count());
    for (RuleId rule : rules_) corners_[rule] = corners(rule);
    for (const std::vector<RuleId>& group : groups()) {
      bool recursive = group.size() > 1 || std::ranges::count(corners_[group[0]], group[0]) > 0;
      if (recursive) rewrite(group);
    }
    if (fuel_.exhausted()) return fuel_.status();
    return store_.fault();
  }

 private:
  struct Production {  // Al = Aj x: head j (its place in the group), rest x
    uint32_t head;
    NodeRef rest;
  };
  using Places = std::unordered_map<RuleId, uint32_t>;  // of rules in their group
  struct Split {
    std::vector<Production> productions;
    std::vector<NodeRef> others;  // the y of the picture above
  };

  bool going() { return fuel_.spend() && store_.ok(); }
  void collect(NodeRef root);
  std::vector<RuleId> corners(RuleId rule);
  std::vector<std::vector<RuleId>> groups();
  void rewrite(const std::vector<RuleId>& group);
  Split split(RuleId rule, const Places& group);
  NodeRef not_empty(NodeRef node);
  NodeRef not_empty_here(NodeRef node);
  bool needs(NodeRef node, std::vector<NodeRef>& stack);
  void define_pending();

  Store& store_;
  Fuel& fuel_;
  std::vector<RuleId> rules_;                    // reachable
  std::vector<std::vector<RuleId>> corners_;     // rules that a rule may begin with
  std::unordered_map<NodeRef, NodeRef> strict_;  // node -> the same without the empty string
  std::unordered_map<RuleId, RuleId> strict_rules_;
  std::vector<RuleId> pending_;  // keys of strict_rules_ whose twin has no body yet
};

void LeftRecursion::collect(NodeRef root) {
  std::unordered_set<NodeRef> seen;
  std::vector<NodeRef> stack{root};
  while (!stack.empty() && going()) {
    NodeRef ref = stack.back();
    stack.pop_back();
    if (store_.regular(ref) || !seen.insert(ref).second) continue;
    const Node node = store_.node(ref);
    if (node.kind == Kind::concat) {
      stack.push_back(node.a);
      stack.push_back(node.b);
    } else if (node.kind == Kind::repeat) {
      stack.push_back(node.a);
    } else if (node.kind == Kind::any_of) {
      for (NodeRef child : store_.children(ref)) stack.push_back(child);
    } else if (node.kind == Kind::ref) {
      rules_.push_back(node.a);
      stack.push_back(store_.rule_body(node.a));
    }
  }
}

std::vector<RuleId> LeftRecursion::corners(RuleId rule) {
  std::vector<RuleId> out;
  std::unordered_set<NodeRef> seen;
  std::vector<NodeRef> stack{store_.rule_body(rule)};
  while (!stack.empty() && going()) {
    NodeRef ref = stack.back();
    stack.pop_back();
    if (store_.regular(ref) || !seen.insert(ref).second) {
      continue;
    }
    const Node node = store_.node(ref);
    if (node.kind == Kind::concat) {
      stack.push_back(node.a);
      if (store_.nullable(node.a)) stack.push_back(node.b);
    } else if (node.kind == Kind::repeat) {
      stack.push_back(node.a);
    } else if (node.kind == Kind::any_of) {
      for (NodeRef child : store_.children(ref)) stack.push_back(child);
    } else if (node.kind == Kind::ref) {
      out.push_back(node.a);
    }
  }
  return out;
}

// Strongly connected components of the corner graph, callees first (Tarjan, with its own stack).
std::vector<std::vector<RuleId>> LeftRecursion::groups() {
  struct Frame {
    RuleId rule;
    size_t next;
  };
  constexpr uint32_t kNew = UINT32_MAX;
  std::vector<uint32_t> order(store_.rule_count(), kNew);
  std::vector<uint32_t> low(store_.rule_count(), 0);
  std::vector<bool> open(store_.rule_count(), false);
  std::vector<std::vector<RuleId>> out;
  std::vector<RuleId> path;
  uint32_t count = 0;
  for (RuleId root : rules_) {
    if (order[root] != kNew) continue;
    std::vector<Frame> stack{{root, 0}};
    while (!stack.empty()) {
      Frame& frame = stack.back();
      RuleId rule = frame.rule;
      if (frame.next == 0 && order[rule] == kNew) {
        order[rule] = low[rule] = count++;
        open[rule] = true;
        path.push_back(rule);
      }
      if (frame.next < corners_[rule].size()) {
        RuleId to = corners_[rule][frame.next++];
        if (order[to] == kNew) {
          stack.push_back({to, 0});
        } else if (open[to]) {
          low[rule] = std::min(low[rule], order[to]);
        }
        continue;
      }
      stack.pop_back();
      if (!stack.empty()) low[stack.back().rule] = std::min(low[stack.back().rule], low[rule]);
      if (low[rule] != order[rule]) continue;
      std::vector<RuleId>& group = out.emplace_back();
      for (RuleId member = kNew; member != rule;) {
        member = path.back();
        path.pop_back();
        open[member] = false;
        group.push_back(member);
      }
    }
  }
  return out;
}

// The non-empty part of a body, sorted by what it begins with. An item (node, rest) reads "node,
// not empty, then rest".
LeftRecursion::Split LeftRecursion::split(RuleId rule, const Places& group) {
  struct Item {
    NodeRef node, rest;
  };
  Split out;
  std::unordered_set<uint64_t> seen;
  std::vector<Item> work{{store_.rule_body(rule), store_.eps()}};
  while (!work.empty() && going()) {
    Item item = work.back();
    work.pop_back();
    if (item.node <= store_.eps() || !seen.insert(pair_key(item.node, item.rest)).second) continue;
    const Node node = store_.node(item.node);
    if (store_.regular(item.node)) {
      out.others.push_back(store_.cat(not_empty(item.node), item.rest));
    } else if (node.kind == Kind::concat) {
      work.push_back({node.a, store_.cat(node.b, item.rest)});
      if (store_.nullable(node.a)) work.push_back({node.b, item.rest});
    } else if (node.kind == Kind::any_of) {
      for (NodeRef child : store_.children(item.node)) work.push_back({child, item.rest});
    } else if (node.kind == Kind::repeat) {
      uint32_t lo = node.lo == 0 || store_.nullable(node.a) ? 0 : node.lo - 1;
      uint32_t hi = node.hi == kOpen ? kOpen : node.hi - 1;
      work.push_back({node.a, store_.cat(store_.repeat(node.a, lo, hi), item.rest)});
    } else if (node.kind == Kind::ref && group.contains(node.a)) {
      out.productions.push_back({group.at(node.a), item.rest});
    } else {
      out.others.push_back(store_.cat(not_empty(item.node), item.rest));
    }
  }
  return out;
}

void LeftRecursion::rewrite(const std::vector<RuleId>& group) {
  const auto count = static_cast<uint32_t>(group.size());
  const uint64_t least = uint64_t{count} * count;  // one node for each R(j,i), or more
  if (const uint64_t most = store_.limits().ir_nodes; least > most) {
    return store_.fail(
        limit_exceeded("ir_nodes", static_cast<double>(least), static_cast<double>(most)));
  }
  Places places;
  for (uint32_t i = 0; i < count; ++i) places[group[i]] = i;
  std::vector<Split> splits;
  for (RuleId rule : group) splits.push_back(split(rule, places));
  define_pending();
  std::vector<std::vector<Production>> by_head(count);  // j -> (l, x) of every Al = Aj x
  for (uint32_t i = 0; i < count; ++i) {
    for (const auto& [head, rest] : splits[i].productions) by_head[head].push_back({i, rest});
  }
  std::vector<RuleId> go_on(count);
  for (uint32_t goal = 0; goal < count; ++goal) {
    for (RuleId& rule : go_on) {
      if (!going()) return;
      rule = store_.declare(store_.rule_name(group[goal]) + "'");
    }
    std::vector<NodeRef> starts;
    if (store_.nullable(store_.rule_body(group[goal]))) starts.push_back(store_.eps());
    for (uint32_t from = 0; from < count; ++from) {
      for (NodeRef other : splits[from].others) {
        starts.push_back(store_.cat(other, store_.ref(go_on[from])));
      }
      std::vector<NodeRef> ways;
      if (from == goal) ways.push_back(store_.eps());
      for (const Production& production : by_head[from]) {
        if (!going()) return;
        ways.push_back(store_.cat(production.rest, store_.ref(go_on[production.head])));
      }
      store_.replace_body(go_on[from], store_.any_of(ways));
    }
    store_.replace_body(group[goal], store_.any_of(starts));
  }
}

// Pushes the parts whose strict form is needed first; true when some are missing.
bool LeftRecursion::needs(NodeRef ref, std::vector<NodeRef>& stack) {
  size_t before = stack.size();
  const Node node = store_.node(ref);
  auto need = [&](NodeRef part) {
    if (store_.nullable(part) && !strict_.contains(part)) stack.push_back(part);
  };
  if (node.kind == Kind::concat) {
    need(node.a);
    need(node.b);
  } else if (node.kind == Kind::repeat) {
    need(node.a);
  } else if (node.kind == Kind::any_of) {
    for (NodeRef child : store_.children(ref)) need(child);
  }
  return stack.size() > before;
}

// The language of `node` without the empty string.
NodeRef LeftRecursion::not_empty(NodeRef root) {
  std::vector<NodeRef> stack{root};
  while (!stack.empty() && going()) {
    NodeRef ref = stack.back();
    if (strict_.contains(ref)) {
      stack.pop_back();
    } else if (!needs(ref, stack)) {
      strict_[ref] = not_empty_here(ref);
      stack.pop_back();
    }
  }
  return strict_[root];
}

NodeRef LeftRecursion::not_empty_here(NodeRef ref) {
  if (!store_.nullable(ref)) return ref;
  const Node node = store_.node(ref);
  auto strict = [&](NodeRef part) { return store_.nullable(part) ? strict_[part] : part; };
  switch (node.kind) {
    case Kind::eps:
      return store_.empty();
    case Kind::concat:
      return store_.alt(store_.cat(strict(node.a), node.b), strict(node.b));
    case Kind::any_of: {
      std::vector<NodeRef> parts;
      for (NodeRef child : store_.children(ref)) parts.push_back(strict(child));
      return store_.any_of(parts);
    }
    case Kind::repeat: {
      uint32_t hi = node.hi == kOpen ? kOpen : node.hi - 1;
      bool empty_round = store_.nullable(node.a);
      uint32_t lo = node.lo == 0 || empty_round ? 0 : node.lo - 1;
      return store_.cat(strict(node.a), store_.repeat(node.a, lo, hi));
    }
    case Kind::ref: {
      auto [twin, fresh] = strict_rules_.try_emplace(node.a, 0);
      if (fresh) {
        twin->second = store_.declare(store_.rule_name(node.a) + "+");
        pending_.push_back(node.a);
      }
      return store_.ref(twin->second);
    }
    default:
      return store_.both(ref, store_.complement(store_.eps()));
  }
}

void LeftRecursion::define_pending() {
  while (!pending_.empty() && going()) {
    RuleId rule = pending_.back();
    pending_.pop_back();
    store_.replace_body(strict_rules_[rule], not_empty(store_.rule_body(rule)));
  }
}

}  // namespace

Status remove_left_recursion(Store& store, NodeRef root, Fuel& fuel) {
  if (store.rule_count() == 0) return ok_status();
  return LeftRecursion(store, fuel).run(root);
}

}  // namespace treadle
