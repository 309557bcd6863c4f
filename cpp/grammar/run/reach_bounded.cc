// Reaches of texts of bounded length that match something else as well.
//
// "At most 183 characters, in at most 17 words": every character brings another bound. But as long
// as a token and the shortest way to an end behind it fit into the bound, the bound says nothing,
// and the reach is that of the same text without one. Only tokens that are longer are looked at.
#include <algorithm>
#include <array>
#include <optional>

#include "grammar/run/reach.h"
#include "grammar/typed/str.h"

namespace treadle {

namespace {

constexpr int kBoundDepth = 24;      // of the node that is looked into
constexpr uint32_t kFar = 64;        // bytes to an end; farther ones are not worth it
constexpr size_t kMostDeep = 6'000;  // trie nodes of long tokens, those on the way to them counted

// Fewest bytes of a member, and a bound on the fewest that complete any live prefix of one.
struct Distance {
  uint64_t whole = 0;
  uint64_t most = 0;
};

// Nothing for nodes that only a search tells it of.
std::optional<Distance> distance(const Store& store, NodeRef ref, int depth = 0) {
  const Node node = store.node(ref);
  if (depth > kBoundDepth || !node.facts.plain) return {};
  switch (node.kind) {
    case Kind::eps:
      return Distance{};
    case Kind::bytes:
      return Distance{node.b, node.b};
    case Kind::set:
      return Distance{1, 1};
    case Kind::concat: {
      const auto head = distance(store, node.a, depth + 1);
      const auto tail = head ? distance(store, node.b, depth + 1) : head;
      if (!tail) return {};
      return Distance{head->whole + tail->whole, std::max(head->most + tail->whole, tail->most)};
    }
    case Kind::any_of: {
      Distance out{UINT64_MAX, 0};
      for (const NodeRef child : store.children(ref)) {
        const auto one = distance(store, child, depth + 1);
        if (!one) return {};
        out = {std::min(out.whole, one->whole), std::max(out.most, one->most)};
      }
      return out;
    }
    case Kind::repeat: {
      const auto one = distance(store, node.a, depth + 1);
      if (!one || one->most > kFar) return {};
      return Distance{node.lo * one->whole, one->most + node.lo * one->whole};
    }
    default:
      return {};
  }
}

struct Bounded {
  NodeRef without;    // the same text without its bound
  uint64_t free = 0;  // bytes of a token that the bound says nothing of
};

// Nothing when `text` is no such text, or its bound is near.
std::optional<Bounded> bounded(Store& store, NodeRef text) {
  if (store.node(text).kind != Kind::both || store.children(text).size() != 2) return {};
  const NodeRef first = store.children(text)[0];
  const NodeRef second = store.children(text)[1];
  const auto counts = [&](NodeRef ref) {
    return store.node(ref).kind == Kind::repeat && store.node(ref).a == store.any_char();
  };
  if (counts(first) == counts(second)) return {};
  const Node count = store.node(counts(first) ? first : second);
  const NodeRef other = counts(first) ? second : first;
  // A lower bound of one is met by whatever is not empty.
  if (count.hi == kOpen || count.lo > (store.nullable(other) ? 0 : 1)) return {};
  const auto left = distance(store, other);
  if (!left || left->most > kFar || left->most >= count.hi) return {};
  const NodeRef open = store.both(store.repeat(count.a, count.lo, kOpen), other);
  return Bounded{open, count.hi - left->most};
}

}  // namespace

// X{a,b} and what follows it, which no X begins like: the same without b, but for the tokens of
// more than b bytes. Those that a class of characters spells are known by their length, and hardly
// any other is so long. Null for any other residual.
Result<ReachRef> Reaches::walk_counted(NodeRef residual, const Digest& digest, Fuel& fuel) {
  const Node node = store_.node(residual);
  if (node.kind != Kind::concat) return ReachRef();
  const Node count = store_.node(node.a);
  if (count.kind != Kind::repeat || count.hi == kOpen || count.hi < TokenTrie::kDeep) {
    return ReachRef();
  }
  // With every round a byte or more, and none inside of which the residual may end.
  if (store_.nullable(count.a) || store_.nullable(node.b)) return ReachRef();
  if (!(store_.first(count.a) & store_.first(node.b)).empty()) return ReachRef();
  const NodeRef open = store_.cat(store_.repeat(count.a, count.lo, kOpen), node.b);
  if (!store_.ok()) return store_.take_fault();
  const Loop loop = loops_.find(store_, open);
  const SliceRef slice = loop.units == kOpen ? vocab_.slice(loop.chars) : nullptr;
  if (!slice) return ReachRef();
  const Result<ReachRef> base = of(open, fuel);
  if (!base.ok()) return base;

  const TokenTrie& trie = vocab_.trie();
  std::span<const TrieNode> nodes = trie.nodes();
  const std::span<const uint32_t> inside = slice->at_most(kOpen);
  bits_.reset();
  (*base)->add_to(bits_);
  std::vector<uint32_t> way;
  for (const uint32_t root : trie.deep()) {
    for (uint32_t i = root; i < root + nodes[root].subtree(); ++i) {
      const uint32_t token = nodes[i].token();
      if (nodes[i].depth() < count.hi || (inside[token >> 5] >> (token & 31) & 1)) continue;
      if (!bits_.has(token) && !(*base)->has_end(i)) continue;
      for (uint32_t at = i; at != TokenTrie::kRoot; at = trie.parent(at)) way.push_back(at);
    }
  }
  Reach::Change change;
  const std::span<const uint32_t> above = slice->above(count.hi);
  change.without.assign(above.begin(), above.end());
  Status status = walk_way(residual, **base, count.hi, way, change, fuel);
  if (!status.ok()) return status;
  if (change.size() == 0) return base;
  return changed(*base, std::move(change), digest);
}

// What is different about `residual`, whose base is in bits_, along some ways of more than `free`
// bytes.
Status Reaches::walk_way(NodeRef residual, const Reach& base, uint64_t free,
                         std::vector<uint32_t>& way, Reach::Change& change, Fuel& fuel) {
  std::span<const TrieNode> nodes = vocab_.trie().nodes();
  std::sort(way.begin(), way.end());
  way.erase(std::unique(way.begin(), way.end()), way.end());
  std::array<uint32_t, kMaxTrieDepth + 1> entries;
  entries[0] = residuals_.of(residual);
  for (const uint32_t at : way) {
    if (!fuel.spend()) return fuel.status();
    const uint32_t depth = nodes[at].depth();
    const uint32_t entry =
        residuals_.step(entries[depth] & ~Residuals::kEnds, nodes[at].byte(), fuel);
    if (entry == Residuals::kFault) return store_.take_fault();
    entries[depth + 1] = entry;
    if (depth < free) continue;
    const uint32_t token = nodes[at].token();
    if (entry == kDeadResidual && token != vocab_.size() && bits_.has(token)) {
      change.without.push_back(token);
    }
    if (!(entry & Residuals::kEnds) && base.has_end(at)) change.gone.push_back(at);
  }
  return ok_status();
}

// Null for any other residual.
Result<ReachRef> Reaches::walk_bounded(NodeRef residual, const Digest& digest, Fuel& fuel) {
  const Node node = store_.node(residual);
  const bool chained = node.kind == Kind::concat;
  const NodeRef leaf = chained ? node.a : residual;
  const NodeRef text = raw_text(store_, leaf);
  if (text == store_.empty()) return ReachRef();
  const std::optional<Bounded> found = bounded(store_, text);
  if (!store_.ok()) return store_.take_fault();
  if (!found || found->free < TokenTrie::kDeep) return ReachRef();
  const NodeRef open = with_text(store_, leaf, found->without);
  if (!store_.ok()) return store_.take_fault();
  Result<ReachRef> base = of(chained ? store_.cat(open, node.b) : open, fuel);
  if (!base.ok() || found->free >= vocab_.longest()) return base;
  if (!(*base)->lists_all_ends()) return ReachRef();

  const TokenTrie& trie = vocab_.trie();
  std::span<const TrieNode> nodes = trie.nodes();
  const auto longer = [&](uint32_t at) { return nodes[at].depth() + 1u > found->free; };
  bits_.reset();
  (*base)->add_to(bits_);
  std::vector<uint32_t> way;
  for (const uint32_t root : trie.deep()) {
    for (uint32_t i = root; i < root + nodes[root].subtree(); ++i) {
      const uint32_t token = nodes[i].token();
      const bool legal = token != vocab_.size() && bits_.has(token);
      if (!longer(i) || (!legal && !(*base)->has_end(i))) continue;
      for (uint32_t at = i; at != TokenTrie::kRoot; at = trie.parent(at)) way.push_back(at);
    }
  }
  std::sort(way.begin(), way.end());
  way.erase(std::unique(way.begin(), way.end()), way.end());
  if (way.size() > kMostDeep) return ReachRef();
  Reach::Change change;
  Status status = walk_way(residual, **base, found->free, way, change, fuel);
  if (!status.ok()) return status;
  if (change.size() == 0) return base;
  return changed(*base, std::move(change), digest);
}

}  // namespace treadle
