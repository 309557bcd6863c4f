// Digests of regular nodes: the name of a language that stores of different grammars share.
#include "support/digest.h"

#include "grammar/ir/store.h"
#include "support/small_stack.h"

namespace treadle {

// From the digests of the parts, which are all at hand. Unknown when that of a part is.
Digest Store::digest_of(NodeRef ref) {
  const Node node = nodes_[ref];
  Digest out = Digest::of(static_cast<uint64_t>(node.kind));
  auto part = [&](NodeRef child) {
    Digest digest = digests_[child];
    if (!digest.known()) out = Digest();
    return digest;
  };
  switch (node.kind) {
    case Kind::bytes:
      return out.add(text(ref));
    case Kind::set:
      for (uint64_t word : sets_[node.a].words()) out.add(word);
      return out;
    case Kind::concat: {
      Digest head = part(node.a);
      Digest tail = part(node.b);
      return out.known() ? out.add(head).add(tail) : out;
    }
    case Kind::any_of:
    case Kind::both: {  // sorted by what a store happened to call them: the order says nothing
      Digest all;
      for (uint32_t i = 0; i < node.b; ++i) {
        Digest child = part(lists_[node.a + i]);
        if (!out.known()) return out;
        all.merge(child);
      }
      return out.add(node.b).add(all);
    }
    case Kind::invert: {
      Digest inner = part(node.a);
      return out.known() ? out.add(inner) : out;
    }
    case Kind::repeat: {
      Digest inner = part(node.a);
      return out.known() ? out.add(uint64_t{node.lo} << 32 | node.hi).add(inner) : out;
    }
    case Kind::leaf: {
      Digest inner = typed_[node.a]->digest(*this);
      return inner.known() ? out.add(inner) : Digest();
    }
    case Kind::ref:
    case Kind::rule:
    case Kind::token:
      return Digest();
    case Kind::empty:
    case Kind::eps:
      break;
  }
  return out;
}

Digest Store::digest(NodeRef root) {
  if (digests_.size() < nodes_.size()) digests_.resize(nodes_.size());
  if (digests_[root].known()) return digests_[root];
  SmallStack<NodeRef> stack(root);
  uint32_t walk = new_walk();
  while (!stack.empty()) {
    NodeRef ref = stack.back();
    if (digests_[ref].known()) {
      stack.pop_back();
      continue;
    }
    if (!enter(ref, walk)) {  // its parts are done
      Digest digest = digest_of(ref);
      if (!digest.known()) return digest;
      digests_[ref] = digest;
      stack.pop_back();
      continue;
    }
    const Node node = nodes_[ref];
    auto need = [&](NodeRef part) {
      if (!digests_[part].known()) stack.push_back(part);
    };
    if (node.kind == Kind::concat) {
      need(node.b);
      need(node.a);
    } else if (node.kind == Kind::repeat || node.kind == Kind::invert) {
      need(node.a);
    } else if (node.kind == Kind::any_of || node.kind == Kind::both) {
      for (uint32_t i = 0; i < node.b; ++i) need(lists_[node.a + i]);
    }
  }
  return digests_[root];
}

}  // namespace treadle
