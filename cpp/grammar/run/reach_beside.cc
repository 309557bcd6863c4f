// Reaches from others: of a residual like a simpler one, and of what stands behind one.
#include <algorithm>
#include <utility>

#include "grammar/run/reach.h"

namespace treadle {

namespace {

constexpr size_t kMostChanges = 4'096;  // tokens and nodes; more are a reach of their own

}  // namespace

// What tells the reach of `from` from that of `beside`, by following both through the trie, along
// the bytes that may tell them apart: the tokens that begin like a name of the object. Where the
// two meet, the rest of the subtree is right already.
Status Reaches::walk_apart(NodeRef from, const Beside& beside, const Reach& base,
                           Reach::Change& change, Fuel& fuel) {
  struct Pair {
    uint32_t node;  // of the trie; its children are still to be looked at
    ResidualId here, there;
    ByteSet differ;  // empty: every byte may
  };
  std::span<const TrieNode> nodes = vocab_.trie().nodes();
  std::vector<Pair> stack;
  stack.push_back(
      {TokenTrie::kRoot, residuals_.of(from), residuals_.of(beside.node), beside.differ});
  std::vector<uint32_t> children;
  while (!stack.empty()) {
    Pair pair = stack.back();
    stack.pop_back();
    children.clear();
    vocab_.trie().children(pair.node, pair.differ, children);
    if (!fuel.spend(children.size() + 1)) return fuel.status();
    for (uint32_t i : children) {
      uint8_t byte = nodes[i].byte();
      uint32_t here = residuals_.step(pair.here, byte, fuel);
      uint32_t there = residuals_.step(pair.there, byte, fuel);
      if (here == Residuals::kFault || there == Residuals::kFault) return store_.take_fault();
      if (here == there) continue;
      uint32_t token = nodes[i].token();
      if (token != vocab_.size() && (here == kDeadResidual) != (there == kDeadResidual)) {
        (here == kDeadResidual ? change.without : change.with).push_back(token);
      }
      if (nodes[i].subtree() == 1) continue;
      // An end of both may be missing in the base, where a class of characters has decided all
      // that is below it.
      bool ends = here & Residuals::kEnds;
      if (ends != base.has_end(i)) (ends ? change.come : change.gone).push_back(i);
      here &= ~Residuals::kEnds;
      there &= ~Residuals::kEnds;
      if (here == there) continue;
      Beside next = store_.beside(residuals_.node(here));
      bool alike = next.node != store_.empty() && next.node == residuals_.node(there);
      if (alike && next.differ.empty()) continue;
      stack.push_back({i, here, there, alike ? next.differ : ByteSet()});
    }
  }
  std::sort(change.gone.begin(), change.gone.end());
  std::sort(change.come.begin(), change.come.end());
  if (!store_.ok()) return store_.take_fault();
  return ok_status();
}

// A change of a change, or a large one, is a reach of its own.
ReachRef Reaches::changed(const ReachRef& base, Reach::Change change, const Digest& digest) {
  bool all_ends = base->lists_all_ends();
  ReachRef reach = std::make_shared<const Reach>(base, std::move(change), vocab_.trie());
  if (!base->base() && reach->change().size() <= kMostChanges) return reach;
  std::vector<uint32_t> ends;
  bits_.reset();
  reach->add_to(bits_);
  reach->ends(ends);
  std::sort(ends.begin(), ends.end());
  return std::make_shared<const Reach>(bits_, ends, vocab_.trie(), digest, all_ends);
}

// Null when the residual has nothing beside it.
Result<ReachRef> Reaches::walk_beside(NodeRef residual, const Digest& digest, Fuel& fuel) {
  Beside beside = store_.beside(residual);
  if (!store_.ok()) return store_.take_fault();
  if (beside.node == store_.empty()) return ReachRef();
  Result<ReachRef> found = of(beside.node, fuel);
  if (!found.ok()) return found;
  Reach::Change change;
  if (!spelled_apart(residual, **found, change)) {
    Status status = walk_apart(residual, beside, **found, change, fuel);
    if (!status.ok()) return status;
  }
  return changed(*found, std::move(change), digest);
}

bool Reaches::short_run(NodeRef residual) {
  const Node run = store_.node(residual);
  return run.kind == Kind::repeat && store_.node(run.a).kind == Kind::set &&
         store_.set(run.a).count() <= kNarrow;
}

// Optional whitespace and what follows it: a walk would meet a new residual with each byte of the
// run, but where the run may end is the same for all that follows. Null for any other residual.
Result<ReachRef> Reaches::walk_run(NodeRef residual, const Digest& digest, Fuel& fuel) {
  const Node node = store_.node(residual);
  if (node.kind != Kind::concat) return ReachRef();
  const Node run = store_.node(node.a);
  if (!short_run(node.a) || !digest.known()) return ReachRef();
  const Node tail = store_.node(node.b);
  const NodeRef next = tail.kind == Kind::concat ? tail.a : node.b;
  if (store_.node(next).kind == Kind::repeat) return ReachRef();  // one run deep, not a thousand
  Result<ReachRef> head = of(node.a, fuel);
  if (!head.ok()) return head;
  Result<ReachRef> after = behind(**head, node.b, fuel);
  if (!after.ok()) return after;
  Result<ReachRef> alone = ReachRef();
  if (run.facts.nullable) alone = of(node.b, fuel);
  if (!alone.ok()) return alone;
  std::vector<uint32_t> ends;
  (*after)->ends(ends);
  if (*alone) (*alone)->ends(ends);
  if (tail.facts.nullable) (*head)->ends(ends);
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  bits_.reset();
  for (const ReachRef& part : {*head, *after, *alone}) {
    if (part) part->add_to(bits_);
  }
  const bool all = (*head)->lists_all_ends() && (!*alone || (*alone)->lists_all_ends());
  return std::make_shared<const Reach>(bits_, ends, vocab_.trie(), digest, all);
}

// The tokens whose rest, from an end of `before` on, begins with `id`.
Status Reaches::walk_behind(const Reach& before, ResidualId id, std::vector<uint32_t>& ends,
                            Fuel& fuel) {
  std::span<const TrieNode> nodes = vocab_.trie().nodes();
  std::vector<std::pair<uint32_t, uint32_t>> stack;  // trie node, entry of a row
  std::vector<uint32_t> roots;
  ByteSet bytes = residuals_.first(id) & before.next_bytes();
  for (; !bytes.empty(); bytes.erase(static_cast<uint8_t>(bytes.lowest()))) {
    auto byte = static_cast<uint8_t>(bytes.lowest());
    uint32_t entry = residuals_.step(id, byte, fuel);
    if (entry == Residuals::kFault) return store_.take_fault();
    if (entry == kDeadResidual) continue;
    before.next(byte, vocab_.trie(), roots);
    for (uint32_t root : roots) stack.push_back({root, entry});
    while (!stack.empty()) {
      auto [at, to] = stack.back();
      stack.pop_back();
      if (!fuel.spend()) return fuel.status();
      bits_.set(nodes[at].token());
      if (nodes[at].subtree() == 1) continue;
      if (to & Residuals::kEnds) ends.push_back(at);
      ResidualId next = to & ~Residuals::kEnds;
      const ByteSet first = residuals_.first(next);
      if (first.empty()) continue;
      roots.clear();
      vocab_.trie().children(at, first, roots);
      for (uint32_t child : roots) {
        uint32_t after = residuals_.step(next, nodes[child].byte(), fuel);
        if (after == Residuals::kFault) return store_.take_fault();
        if (after != kDeadResidual) stack.push_back({child, after});
      }
    }
  }
  return store_.ok() ? ok_status() : store_.take_fault();
}

Result<ReachRef> Reaches::behind(const Reach& before, NodeRef residual, Fuel& fuel) {
  constexpr uint64_t kBehind = 0xb41d;  // no node's digest begins with it
  Digest digest = store_.digest(residual);
  if (digest.known()) digest = Digest::of(kBehind).add(before.digest()).add(digest);
  ReachRef reach = digest.known() ? memo_->find(digest) : nullptr;
  if (reach) return reach;
  std::vector<uint32_t> ends;
  bits_.reset();
  Status status = walk_behind(before, residuals_.of(residual), ends, fuel);
  if (!status.ok()) return status;
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  bits_.erase(vocab_.size());
  reach = std::make_shared<const Reach>(bits_, ends, vocab_.trie(), digest);
  if (digest.known()) memo_->put(digest, reach);
  return reach;
}

}  // namespace treadle
