// Brzozowski derivatives of regular nodes: the language left after one byte.
//
// Source: J. Brzozowski, Derivatives of Regular Expressions, JACM 11 (1964); normalised unions keep
// the number of derivatives finite. The order of evaluation is a stack of our own, so a chain of a
// million optional parts costs memory, not the C++ stack.
#include "grammar/ir/store.h"
#include "support/small_stack.h"

namespace treadle {

namespace {

constexpr size_t kMemoEntries = 1u << 20;  // then the memo starts afresh

uint64_t memo_key(NodeRef node, uint8_t byte) {
  return uint64_t{node} << 8 | byte;
}

}  // namespace

// Nodes whose derivative needs no other derivative. `done` is false for all the others.
NodeRef Store::derive_here(NodeRef ref, uint8_t byte, bool& done) {
  const Node node = nodes_[ref];
  done = true;
  switch (node.kind) {
    case Kind::empty:
    case Kind::eps:
      return empty();
    case Kind::bytes:
      if (static_cast<uint8_t>(text_[node.a]) != byte) return empty();
      return node.b == 1 ? eps() : make_bytes(node.a + 1, node.b - 1);
    case Kind::set:
      return sets_[node.a].contains(byte) ? eps() : empty();
    case Kind::ref:
    case Kind::rule:
    case Kind::token:
      fail(
          unsupported("", "a rule or token has no derivative by bytes; it must be expanded first"));
      return empty();
    default:
      break;
  }
  uint32_t found = derived_.find(memo_key(ref, byte));
  if (found != FlatMap::kNone) return found;
  done = false;
  return empty();
}

// The derivative of `ref` from those of its parts, which are all at hand.
NodeRef Store::combine(NodeRef ref, uint8_t byte) {
  bool done = false;
  std::vector<NodeRef> parts;
  const Node node = nodes_[ref];
  switch (node.kind) {
    case Kind::leaf:
      return typed_[node.a]->derive(*this, byte);
    case Kind::concat: {
      NodeRef at = ref;
      for (;;) {
        const Node here = nodes_[at];
        if (here.kind != Kind::concat) {
          parts.push_back(derive_here(at, byte, done));
          break;
        }
        parts.push_back(cat(derive_here(here.a, byte, done), here.b));
        if (!nodes_[here.a].facts.nullable) break;
        at = here.b;
      }
      return parts.size() == 1 ? parts.front() : any_of(parts);
    }
    case Kind::repeat: {
      uint32_t lo = node.lo == 0 ? 0 : node.lo - 1;
      uint32_t hi = node.hi == kOpen ? kOpen : node.hi - 1;
      NodeRef head = derive_here(node.a, byte, done);
      return head == empty() ? empty() : cat(head, repeat(node.a, lo, hi));
    }
    case Kind::invert:
      return complement(derive_here(node.a, byte, done));
    default:
      break;
  }
  for (uint32_t i = 0; i < node.b; ++i) {
    NodeRef rest = derive_here(lists_[node.a + i], byte, done);
    if (rest != empty()) parts.push_back(rest);
  }
  if (node.kind == Kind::any_of) return any_of(parts);
  if (parts.size() < node.b) return empty();
  NodeRef all = parts.front();
  for (size_t i = 1; i < parts.size(); ++i) all = both(all, parts[i]);
  return all;
}

NodeRef Store::derive(NodeRef node, uint8_t byte) {
  // A sequence whose head has to be read first needs no memo of its own.
  if (nodes_[node].kind == Kind::concat && !nodes_[nodes_[node].a].facts.nullable) {
    if (!spend(1)) return empty();
    const Node link = nodes_[node];
    NodeRef head = derive(link.a, byte);
    return head == empty() ? head : cat(head, link.b);
  }
  bool done = false;
  NodeRef rest = derive_here(node, byte, done);
  if (done) return rest;
  if (derived_.size() > kMemoEntries) derived_.clear();
  SmallStack<NodeRef> stack(node);
  auto need = [&](NodeRef part) {
    derive_here(part, byte, done);
    if (!done) stack.push_back(part);
  };
  while (!stack.empty()) {
    NodeRef ref = stack.back();
    derive_here(ref, byte, done);
    if (done) {
      stack.pop_back();
      continue;
    }
    size_t before = stack.size();
    const Node here = nodes_[ref];
    if (here.kind == Kind::repeat || here.kind == Kind::invert) need(here.a);
    if (here.kind == Kind::any_of || here.kind == Kind::both) {
      for (uint32_t i = 0; i < here.b; ++i) need(lists_[here.a + i]);
    }
    NodeRef at = ref;
    uint64_t links = 0;
    bool open = here.kind == Kind::concat;
    for (; open; ++links) {
      const Node link = nodes_[at];
      bool chained = link.kind == Kind::concat;
      need(chained ? link.a : at);
      open = chained && nodes_[link.a].facts.nullable;
      at = link.b;
    }
    if (!spend(1 + 2 * links + stack.size() - before)) return empty();  // read again to combine
    if (stack.size() > before) continue;
    rest = combine(ref, byte);
    if (!ok()) return empty();
    derived_.set(memo_key(ref, byte), rest);
    stack.pop_back();
  }
  return derive_here(node, byte, done);
}

// Behind a byte that no excluded text begins with, nothing is excluded any more.
Beside Store::without_exclusions(NodeRef ref) {
  constexpr unsigned kMostBytes = 24;  // excluded texts that begin anyhow say little
  Beside out;
  std::vector<NodeRef> kept;
  for (NodeRef part : std::vector<NodeRef>(children(ref).begin(), children(ref).end())) {
    if (nodes_[part].kind == Kind::invert) {
      out.differ |= first(nodes_[part].a);
    } else {
      kept.push_back(part);
    }
  }
  if (kept.size() == nodes_[ref].b || kept.empty() || out.differ.count() > kMostBytes) return {};
  out.node = intersect(std::move(kept));
  return out;
}

Beside Store::beside(NodeRef ref) {
  const Node node = nodes_[ref];
  if (node.kind == Kind::leaf) return typed_[node.a]->beside(*this);
  if (node.kind == Kind::both) return without_exclusions(ref);
  if (node.kind != Kind::concat) return {};
  Beside out = beside(node.a);
  if (out.node == empty()) return out;
  bool ends = nodes_[node.a].facts.nullable;
  if (ends != nodes_[out.node].facts.nullable) out.differ |= first(node.b);
  out.node = cat(out.node, node.b);
  return out;
}

NodeRef Store::derive(NodeRef node, std::string_view text) {
  for (char byte : text) {
    if (node == empty()) break;
    node = derive(node, static_cast<uint8_t>(byte));
  }
  return node;
}

bool Store::matches(NodeRef node, std::string_view text) {
  NodeRef rest = derive(node, text);
  return ok() && nodes_[rest].facts.nullable;
}

}  // namespace treadle
