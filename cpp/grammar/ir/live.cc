// Which nodes match the empty string, and which match anything at all.
//
// Both are least fixpoints of and/or equations over nodes and rules: a sequence needs all its
// parts, a union any of them, a rule its body. The equations reachable from the question are laid
// out once and solved by counting (Dowling and Gallier, 1984), in time linear in their size.
#include <algorithm>
#include <unordered_set>

#include "grammar/ir/store.h"

namespace treadle {

namespace {

constexpr uint8_t kDead = 1;
constexpr uint8_t kAlive = 2;
constexpr uint64_t kExploreCost = 4;  // fuel for one derivative of an intersection
constexpr size_t kLongestKept = 8;    // bytes of a completion worth trying again

enum class Gate : uint8_t { all, any };

struct Equation {
  NodeRef node;
  Gate gate;
  uint32_t waiting = 0;  // all: inputs not yet true
  bool value = false;
};

// A system of equations over nodes; reading an equation may add more nodes to ask.
class Equations {
 public:
  uint32_t variable(NodeRef node) {
    auto [found, fresh] = index_.try_emplace(node, static_cast<uint32_t>(list.size()));
    if (fresh) {
      list.push_back(Equation{.node = node, .gate = Gate::all});
      readers_.emplace_back();
    }
    return found->second;
  }
  void input(uint32_t of, NodeRef from) {
    uint32_t source = variable(from);
    readers_[source].push_back(of);
    ++list[of].waiting;
  }
  void set(uint32_t variable) { list[variable].value = true; }
  void solve() {
    std::vector<uint32_t> ready;
    for (uint32_t i = 0; i < list.size(); ++i) {
      if (list[i].value) ready.push_back(i);
    }
    while (!ready.empty()) {
      uint32_t source = ready.back();
      ready.pop_back();
      for (uint32_t reader : readers_[source]) {
        Equation& equation = list[reader];
        if (equation.value) continue;
        if (equation.gate == Gate::any || --equation.waiting == 0) {
          equation.value = true;
          ready.push_back(reader);
        }
      }
    }
  }

  std::vector<Equation> list;

 private:
  std::unordered_map<NodeRef, uint32_t> index_;
  std::vector<std::vector<uint32_t>> readers_;
};

}  // namespace

bool Store::nullable(NodeRef root) {
  if (nodes_[root].facts.regular) return nodes_[root].facts.nullable;
  auto known = nullables_.find(root);
  if (known != nullables_.end()) return known->second;
  asked_ = true;
  Equations system;
  system.variable(root);
  for (uint32_t i = 0; i < system.list.size(); ++i) {
    if (!spend(1)) return false;
    NodeRef ref = system.list[i].node;
    const Node node = nodes_[ref];
    auto answer = nullables_.find(ref);
    bool asked = answer != nullables_.end();
    if (node.facts.regular || asked) {
      if (asked ? answer->second : node.facts.nullable) system.set(i);
    } else if (node.kind == Kind::concat) {
      system.input(i, node.a);
      system.input(i, node.b);
    } else if (node.kind == Kind::any_of) {
      system.list[i].gate = Gate::any;
      for (NodeRef child : children(ref)) system.input(i, child);
    } else if (node.kind == Kind::repeat) {
      if (node.lo == 0) system.set(i);
      if (node.lo > 0) system.input(i, node.a);
    } else if (node.kind == Kind::ref) {
      system.input(i, rules_[node.a].body);
    } else {
      system.list[i].gate = Gate::any;  // a typed rule or a token: never
    }
  }
  system.solve();
  for (const Equation& equation : system.list) nullables_[equation.node] = equation.value;
  return system.list.front().value;
}

bool Store::surely_live(NodeRef ref) const {
  const Node& node = nodes_[ref];
  return node.facts.nullable || node.facts.plain || node.live == kAlive;
}

// Whether every word of a small node is text: both are read side by side. False if it is not small.
bool Store::reads_text(NodeRef ref) {
  constexpr size_t kMostPairs = 24;
  std::vector<std::pair<NodeRef, NodeRef>> pairs{{ref, any_text()}};
  for (size_t i = 0; i < pairs.size(); ++i) {
    auto [word, text] = pairs[i];
    if (nodes_[word].facts.nullable && !nodes_[text].facts.nullable) return false;
    ByteSet todo = first(word);
    while (!todo.empty()) {
      auto byte = static_cast<uint8_t>(todo.lowest());
      todo &= ~(same(word, byte) & same(text, byte));
      todo.erase(byte);
      const std::pair<NodeRef, NodeRef> next{derive(word, byte), derive(text, byte)};
      if (next.first == empty() || std::ranges::find(pairs, next) != pairs.end()) continue;
      if (next.second == empty() || !ok() || pairs.size() == kMostPairs) return false;
      pairs.push_back(next);
    }
  }
  return true;
}

bool Store::surely_text(NodeRef root) {
  constexpr size_t kMostLooked = 64;
  std::vector<NodeRef> todo{root};
  for (size_t looked = 0; !todo.empty(); ++looked) {
    if (looked == kMostLooked || !ok()) return false;
    const NodeRef ref = todo.back();
    todo.pop_back();
    const Node node = nodes_[ref];
    if (!node.facts.regular) return false;
    if (node.kind == Kind::repeat) {
      todo.push_back(node.a);
    } else if (!reads_text(ref)) {
      if (node.kind == Kind::concat) {
        todo.insert(todo.end(), {node.a, node.b});
      } else if (node.kind == Kind::any_of) {
        todo.insert(todo.end(), children(ref).begin(), children(ref).end());
      } else {
        return false;
      }
    }
  }
  return true;
}

// Text, but no text at all: what a pattern that must not be found leaves once it has been found.
// Its derivatives are as many as those of its other parts, and each of them is dead.
bool Store::surely_dead(NodeRef ref) {
  if (nodes_[ref].kind != Kind::both) return false;
  const NodeRef text = any_text();
  const std::vector<NodeRef> parts(children(ref).begin(), children(ref).end());
  for (NodeRef part : parts) {
    if (nodes_[part].kind != Kind::invert) continue;
    const NodeRef out = nodes_[part].a;
    bool all = out == text;
    if (nodes_[out].kind == Kind::any_of)
      all = std::ranges::find(children(out), text) != children(out).end();
    if (!all) continue;
    for (NodeRef other : parts) {
      if (nodes_[other].kind != Kind::invert && surely_text(other)) return true;
    }
  }
  return false;
}

// What completed the nodes before mostly completes this one, their next derivative, as well.
bool Store::completes(std::string_view text, NodeRef root, Fuel& fuel) {
  NodeRef ref = root;
  for (size_t i = 0; !surely_live(ref); ++i) {
    if (i == text.size() || nodes_[ref].live == kDead) return false;
    ref = derive(ref, static_cast<uint8_t>(text[i]));
    if (!fuel.spend(kExploreCost) || !ok() || ref == empty()) return false;
  }
  nodes_[root].live = kAlive;
  return true;
}

// Looks for a string of a both or invert node by walking its derivatives, shortest first.
Result<bool> Store::explore(NodeRef root, Fuel& fuel) {
  for (size_t i = 0; i < completions_.size(); ++i) {
    if (!completes(completions_[i], root, fuel)) continue;
    std::rotate(completions_.begin(), completions_.begin() + static_cast<std::ptrdiff_t>(i),
                completions_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    return true;
  }
  if (fuel.exhausted()) return fuel.status();
  if (!ok()) return fault();
  std::vector<NodeRef> queue{root};
  std::vector<size_t> parent{0};
  std::string bytes(1, '\0');  // that led to each of the queue
  std::unordered_set<NodeRef> seen{root};
  for (size_t i = 0; i < queue.size(); ++i) {
    NodeRef ref = queue[i];
    if (nodes_[ref].live == kDead || surely_dead(ref)) continue;
    ByteSet todo = first(ref);
    while (!todo.empty()) {
      auto byte = static_cast<uint8_t>(todo.lowest());
      todo &= ~same(ref, byte);
      NodeRef rest = derive(ref, byte);
      if (!fuel.spend(kExploreCost)) return fuel.status();
      if (!ok()) return fault();
      if (rest == empty() || !seen.insert(rest).second) continue;
      queue.push_back(rest);
      bytes.push_back(static_cast<char>(byte));
      parent.push_back(i);
      if (!surely_live(rest)) continue;
      std::string text;
      for (size_t at = queue.size() - 1; at != 0; at = parent[at]) {
        nodes_[queue[at]].live = kAlive;
        text.push_back(bytes[at]);
      }
      nodes_[root].live = kAlive;
      if (text.size() > kLongestKept) return true;
      std::rotate(completions_.begin(), completions_.end() - 1, completions_.end());
      completions_.front().assign(text.rbegin(), text.rend());
      return true;
    }
  }
  if (!ok()) return fault();
  for (NodeRef ref : queue) nodes_[ref].live = kDead;
  return false;
}

// Lays out the equation of one node of the liveness system.
Status Store::live_equation(NodeRef ref, Fuel& fuel, std::vector<NodeRef>& inputs, bool& any,
                            bool& truth) {
  const Node node = nodes_[ref];
  any = node.kind == Kind::any_of;
  truth = node.facts.plain || node.live == kAlive;
  if (truth || node.live == kDead || node.kind == Kind::empty) {
    any = true;  // no inputs: false unless true already
    return ok_status();
  }
  switch (node.kind) {
    case Kind::concat:
      inputs = {node.a, node.b};
      break;
    case Kind::any_of:
      inputs.assign(children(ref).begin(), children(ref).end());
      break;
    case Kind::repeat:
      truth = node.lo == 0;
      if (!truth) inputs = {node.a};
      break;
    case Kind::ref:
      inputs = {rules_[node.a].body};
      break;
    case Kind::rule: {
      Result<NodeRef> witness = typed_[node.a]->witness(*this, fuel);
      if (!witness.ok()) return witness.status();
      inputs = {*witness};
      break;
    }
    default: {
      Result<bool> found = explore(ref, fuel);
      if (!found.ok()) return found.status();
      truth = *found;
      any = true;
    }
  }
  return ok_status();
}

Result<bool> Store::live(NodeRef root, Fuel& fuel) {
  if (!ok()) return fault();
  if (nodes_[root].facts.plain || nodes_[root].live == kAlive) return true;
  if (root == empty() || nodes_[root].live == kDead) return false;
  Equations system;
  system.variable(root);
  std::vector<NodeRef> inputs;
  for (uint32_t i = 0; i < system.list.size(); ++i) {
    inputs.clear();
    bool any = false;
    bool truth = false;
    Status status = live_equation(system.list[i].node, fuel, inputs, any, truth);
    if (!status.ok()) return status;
    if (!fuel.spend(1 + inputs.size())) return fuel.status();
    if (!ok()) return fault();
    system.list[i].gate = any ? Gate::any : Gate::all;
    if (truth) system.set(i);
    for (NodeRef input : inputs) system.input(i, input);
  }
  asked_ = true;
  system.solve();
  for (const Equation& equation : system.list) {
    nodes_[equation.node].live = equation.value ? kAlive : kDead;
  }
  return system.list.front().value;
}

Result<NodeRef> Store::body(NodeRef ref, Fuel& fuel) {
  const Node node = nodes_[ref];
  if (node.kind == Kind::ref) return rules_[node.a].body;
  if (node.kind == Kind::token) return empty();  // no bytes lead through a token
  const uint32_t known = bodies_.find(ref);
  if (known != FlatMap::kNone) return known;
  Result<NodeRef> expanded = typed_[node.a]->expand(*this, fuel);
  if (!expanded.ok()) return expanded;
  if (!ok()) return fault();
  bodies_.set(ref, *expanded);
  return expanded;
}

}  // namespace treadle
