// First bytes and byte classes of regular nodes.
#include "grammar/ir/store.h"
#include "support/small_stack.h"

namespace treadle {

// A superset for both, invert and leaf nodes, exact for the rest. Every node is looked at once.
// Walks over shared nodes visit each once: a chain of nullable parts is a DAG with exponentially
// many paths. A walk inside a walk (a typed leaf asking for its residual) makes the outer one
// forget where it was, which costs time only.
uint32_t Store::new_walk() {
  walked_.resize(nodes_.size());
  return ++walks_;
}

bool Store::enter(NodeRef node, uint32_t walk) {
  if (node >= walked_.size()) walked_.resize(nodes_.size());  // made during the walk
  if (walked_[node] == walk) return false;
  walked_[node] = walk;
  return true;
}

ByteSet Store::first(NodeRef root) {
  ByteSet out;
  const uint32_t walk = new_walk();
  SmallStack<NodeRef> stack(root);
  while (!stack.empty() && spend(1)) {
    NodeRef ref = stack.back();
    stack.pop_back();
    if (!enter(ref, walk)) continue;
    const Node node = nodes_[ref];
    switch (node.kind) {
      case Kind::bytes:
        out.insert(static_cast<uint8_t>(text_[node.a]));
        break;
      case Kind::set:
        out |= sets_[node.a];
        break;
      case Kind::concat:
        stack.push_back(node.a);
        if (nodes_[node.a].facts.nullable) stack.push_back(node.b);
        break;
      case Kind::any_of:
        for (NodeRef child : children(ref)) stack.push_back(child);
        break;
      case Kind::both: {
        NodeRef part = best_part(ref);
        if (part == ref) return ByteSet::all();
        stack.push_back(part);
        break;
      }
      case Kind::repeat:
        stack.push_back(node.a);
        break;
      case Kind::leaf:
        out |= typed_[node.a]->first(*this);
        break;
      case Kind::invert:
        return ByteSet::all();
      default:
        break;
    }
  }
  return out;
}

// The part of an intersection that is likely to bound its first bytes best: any but a complement.
NodeRef Store::best_part(NodeRef ref) const {
  for (NodeRef part : children(ref)) {
    if (nodes_[part].kind != Kind::invert) return part;
  }
  return ref;
}

// The intersection of the classes of every part that the derivative looks at.
ByteSet Store::same(NodeRef root, uint8_t byte) {
  ByteSet out = ByteSet::all();
  const uint32_t walk = new_walk();
  SmallStack<NodeRef> stack(root);
  while (!stack.empty() && spend(1)) {
    NodeRef ref = stack.back();
    stack.pop_back();
    if (!enter(ref, walk)) continue;
    const Node node = nodes_[ref];
    switch (node.kind) {
      case Kind::bytes: {
        ByteSet lead = ByteSet::of(static_cast<uint8_t>(text_[node.a]));
        out &= lead.contains(byte) ? lead : ~lead;
        break;
      }
      case Kind::set:
        out &= sets_[node.a].contains(byte) ? sets_[node.a] : ~sets_[node.a];
        break;
      case Kind::concat:
        stack.push_back(node.a);
        if (nodes_[node.a].facts.nullable) stack.push_back(node.b);
        break;
      case Kind::any_of:
      case Kind::both:
        for (NodeRef child : children(ref)) stack.push_back(child);
        break;
      case Kind::repeat:
      case Kind::invert:
        stack.push_back(node.a);
        break;
      case Kind::leaf:
        out &= typed_[node.a]->same(*this, byte);
        break;
      default:
        break;
    }
  }
  return out;
}

}  // namespace treadle
