// Reaches of counted residuals, from one with lower bounds and one with higher ones.
//
// Every text brings other counts: "at most 183 characters, in at most 17 words". Without an
// intersection the counts that no token can tell apart are clamped (clamp.cc); under one it is not
// the shape that says which those are. But what matches with lower bounds matches with these, and
// what does not match with higher bounds does not: so only the tokens that those two do not agree
// on are looked at, and mostly there are none. Bounds are rounded down and up to a few, so the two
// are found again and again.
#include <algorithm>
#include <array>

#include "grammar/run/reach.h"
#include "grammar/typed/str.h"

namespace treadle {

namespace {

constexpr int kDepth = 8;            // of the residual that is looked into
constexpr uint32_t kFirstAsked = 1;  // residuals between the same two that are walked all the same
constexpr size_t kMostBetween = 6'000;  // trie nodes, those on the way to them counted
constexpr uint64_t kFuelShare = 4;      // of a step's fuel, for both walks beside
constexpr std::array<uint32_t, 4> kLengths = {24, 48, 96, 192};
constexpr std::array<uint32_t, 1> kRounds = {2};

// Whether each word of `node` has two bytes or more: hardly a token has three of those.
bool two_bytes(Store& store, NodeRef ref) {
  const Node& node = store.node(ref);
  if (node.kind == Kind::bytes) return node.b > 1;
  return node.kind == Kind::concat && !store.nullable(node.a) && !store.nullable(node.b);
}

// Whether counts stand below an intersection: all others are clamped, and not worth two more walks.
bool intersects(Store& store, NodeRef ref, int depth = 0) {
  const Node node = store.node(ref);
  if (depth > kDepth || node.kind == Kind::both) return node.kind == Kind::both;
  if (node.kind == Kind::concat) {
    return intersects(store, node.a, depth + 1) || intersects(store, node.b, depth + 1);
  }
  if (node.kind == Kind::any_of) {
    return std::ranges::any_of(store.children(ref),
                               [&](NodeRef child) { return intersects(store, child, depth + 1); });
  }
  if (node.kind != Kind::leaf) return false;
  NodeRef text = raw_text(store, ref);
  return text != store.empty() && intersects(store, text, depth + 1);
}

uint32_t rounded(std::span<const uint32_t> steps, const Node& node, bool up) {
  if (node.hi == kOpen) return kOpen;
  auto above = std::ranges::upper_bound(steps, node.hi);
  if (above == steps.begin()) return node.hi;
  uint32_t below = std::max(*std::prev(above), node.lo);
  if (below == node.hi || !up) return below;
  return above == steps.end() ? kOpen : *above;
}

// The residual with its upper bounds rounded. Only through what keeps the order of languages:
// never below a complement.
NodeRef rounded(Store& store, NodeRef ref, bool up, int depth = 0) {
  const Node node = store.node(ref);
  if (depth > kDepth || !store.ok()) return ref;
  switch (node.kind) {
    case Kind::repeat: {
      bool slow = two_bytes(store, node.a);
      uint32_t hi = slow ? rounded(kRounds, node, up) : rounded(kLengths, node, up);
      return hi == node.hi ? ref : store.repeat(node.a, node.lo, hi);
    }
    case Kind::concat: {
      NodeRef head = rounded(store, node.a, up, depth + 1);
      NodeRef tail = rounded(store, node.b, up, depth + 1);
      return head == node.a && tail == node.b ? ref : store.cat(head, tail);
    }
    case Kind::both:
    case Kind::any_of: {
      std::span<const NodeRef> children = store.children(ref);
      std::vector<NodeRef> out(children.begin(), children.end());
      bool changed = false;
      for (NodeRef& child : out) {
        NodeRef other = rounded(store, child, up, depth + 1);
        changed |= other != child;
        child = other;
      }
      if (!changed) return ref;
      if (node.kind == Kind::any_of) return store.any_of(out);
      NodeRef all = out.front();
      for (NodeRef part : out) all = store.both(all, part);
      return all;
    }
    case Kind::leaf: {
      NodeRef text = raw_text(store, ref);
      if (text == store.empty()) return ref;
      NodeRef other = rounded(store, text, up, depth + 1);
      return other == text ? ref : with_text(store, ref, other);
    }
    default:
      return ref;
  }
}

}  // namespace

// The two reaches, and the trie nodes on the way to what they do not agree on. No nodes listed and
// not `useful`: they are too many, or the walks would take too long.
Status Reaches::compare(NodeRef low, NodeRef high, Between& out) {
  Fuel fuel("step_fuel", store_.limits().step_fuel / kFuelShare);
  Result<ReachRef> less = of(low, fuel);
  Result<ReachRef> more = less.ok() ? of(high, fuel) : less;
  if (!more.ok()) {
    // Not even the residual itself might be found out then; but that is for its own walk to say.
    return store_.ok() ? ok_status() : store_.take_fault();
  }
  if (!(*more)->lists_all_ends()) return ok_status();
  std::span<const TrieNode> nodes = vocab_.trie().nodes();
  MaskBits fewer(vocab_.size());
  fewer.reset();
  (*less)->add_to(fewer);
  bits_.reset();
  (*more)->add_to(bits_);
  std::vector<uint32_t> way;
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    uint32_t token = nodes[i].token();
    bool differ = token != vocab_.size() && bits_.has(token) && !fewer.has(token);
    if (!differ) differ = (*more)->has_end(i) && !(*less)->has_end(i);
    if (!differ) continue;
    for (uint32_t at = i; at != TokenTrie::kRoot; at = vocab_.trie().parent(at)) way.push_back(at);
    if (way.size() > kMostBetween * 8) return ok_status();
  }
  std::sort(way.begin(), way.end());
  way.erase(std::unique(way.begin(), way.end()), way.end());
  if (way.size() > kMostBetween) return ok_status();
  out.useful = true;
  out.low = *less;
  out.way = std::move(way);
  return ok_status();
}

// Null when the residual has no such bounds, or too much hangs on them.
Result<ReachRef> Reaches::walk_between(NodeRef residual, const Digest& digest, Fuel& fuel) {
  if (!intersects(store_, residual)) return ReachRef();
  NodeRef low = rounded(store_, residual, false);
  NodeRef high = low == residual ? low : rounded(store_, residual, true);
  if (!store_.ok()) return store_.take_fault();
  if (low == residual || high == residual || low == store_.empty()) return ReachRef();
  if (between_.size() > kMostPairs) between_.clear();
  Between& pair = between_[uint64_t{low} << 32 | high];
  if (pair.asked++ < kFirstAsked) return ReachRef();
  if (pair.asked == kFirstAsked + 1) {
    Between made;
    made.asked = pair.asked;
    if (Status status = compare(low, high, made); !status.ok()) return status;
    own_bytes_ += made.way.size() * sizeof(uint32_t);
    between_[uint64_t{low} << 32 | high] = made;  // `pair` may have moved
  }
  const Between& found = between_[uint64_t{low} << 32 | high];
  if (!found.useful) return ReachRef();
  std::span<const TrieNode> nodes = vocab_.trie().nodes();
  std::array<uint32_t, kMaxTrieDepth + 1> entries;
  entries[0] = residuals_.of(residual);
  bits_.reset();
  found.low->add_to(bits_);
  Reach::Change change;
  uint32_t past = 0;  // a dead subtree ends here
  for (uint32_t node : found.way) {
    if (node < past) continue;
    if (!fuel.spend()) return fuel.status();
    uint32_t depth = nodes[node].depth();
    uint32_t entry = residuals_.step(entries[depth] & ~Residuals::kEnds, nodes[node].byte(), fuel);
    if (entry == Residuals::kFault) return store_.take_fault();
    if (entry == kDeadResidual) {
      past = node + nodes[node].subtree();
      continue;
    }
    entries[depth + 1] = entry;
    uint32_t token = nodes[node].token();
    if (token != vocab_.size() && !bits_.has(token)) change.with.push_back(token);
    if ((entry & Residuals::kEnds) && nodes[node].subtree() > 1 && !found.low->has_end(node)) {
      change.come.push_back(node);
    }
  }
  return changed(found.low, std::move(change), digest);
}

}  // namespace treadle
