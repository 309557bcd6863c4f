// Interning: one node for one structure, found through an open-addressing table.
#include <cstring>

#include "grammar/ir/store.h"
#include "support/hash.h"

namespace treadle {

namespace {

constexpr uint32_t kFree = UINT32_MAX;
constexpr size_t kLarge = 1024;            // nodes that a store has before it is stepped through
constexpr size_t kFirstNodes = 128;        // room for the start of a usual schema
constexpr uint64_t kListItemsPerNode = 4;  // list items are charged against the node limits

}  // namespace

Store::Store(Bare) : table_(2 * kFirstNodes, kFree) {
  Facts nothing{.regular = true, .nullable = false, .plain = false};
  Facts word{.regular = true, .nullable = true, .plain = true};
  make(Kind::empty, nothing, 0);
  make(Kind::eps, word, 0);
}

Store::Store(const Limits& limits)
    : limits_(limits), any_char_(common().any_char_), often_(common().often_) {
  nodes_.reserve(kFirstNodes);
  hashes_.reserve(kFirstNodes);
  nodes_ = common().nodes_;
  hashes_ = common().hashes_;
  table_ = common().table_;
  text_ = common().text_;
  lists_ = common().lists_;
  sets_ = common().sets_;
}

Store::~Store() = default;

uint64_t Store::weight() const {
  return nodes_.size() + lists_.size() / kListItemsPerNode;
}

void Store::seal() {
  sealed_at_ = static_cast<uint32_t>(weight());
  if (nodes_.size() < kLarge) return;
  // Moving a large store takes longer than most masks: better now than in the middle of one.
  const size_t room = nodes_.size() + nodes_.size() / 2;
  nodes_.reserve(room);
  hashes_.reserve(room);
  typed_.reserve(typed_.size() + nodes_.size() / 2);
  while (table_.size() < 2 * room) grow_table();
}

bool Store::worn(uint64_t share) const {
  return sealed_at_ != kUnsealed && (weight() - sealed_at_) * share > limits_.derived_nodes;
}

void Store::fail(Status status) {
  if (fault_.ok()) fault_ = std::move(status);
}

Status Store::take_fault() {
  Status status = std::move(fault_);
  fault_ = Status{};
  return status;
}

bool Store::spend(uint64_t units) {
  if (!fault_.ok()) return false;
  if (fuel_ && !fuel_->spend(units * fuel_unit_)) {
    fail(fuel_->status());
    return false;
  }
  return true;
}

std::span<const NodeRef> Store::children(NodeRef ref) const {
  const Node& node = nodes_[ref];
  return {lists_.data() + node.a, node.b};
}

std::string_view Store::text(NodeRef ref) const {
  const Node& node = nodes_[ref];
  return std::string_view(text_).substr(node.a, node.b);
}

uint64_t Store::hash_of(const Node& node) const {
  uint64_t h = mix(static_cast<uint64_t>(node.kind), node.b);
  switch (node.kind) {
    case Kind::bytes:
      return hash_bytes(std::string_view(text_).substr(node.a, node.b), h);
    case Kind::set:
      for (uint64_t word : sets_[node.a].words()) h = mix(h, word);
      return h;
    case Kind::any_of:
    case Kind::both:
      for (uint32_t i = 0; i < node.b; ++i) h = mix(h, lists_[node.a + i]);
      return h;
    case Kind::leaf:
    case Kind::rule:
      return mix(h, typed_[node.a]->hash());
    default:
      return mix(mix(h, node.a), static_cast<uint64_t>(node.lo) << 32 | node.hi);
  }
}

bool Store::equal(const Node& a, const Node& b) const {
  if (a.kind != b.kind || a.b != b.b) return false;
  switch (a.kind) {
    case Kind::bytes:
      return std::string_view(text_).substr(a.a, a.b) == std::string_view(text_).substr(b.a, b.b);
    case Kind::set:
      return sets_[a.a] == sets_[b.a];
    case Kind::any_of:
    case Kind::both:
      return std::memcmp(&lists_[a.a], &lists_[b.a], a.b * sizeof(NodeRef)) == 0;
    case Kind::leaf:
    case Kind::rule:
      return typed_[a.a]->tag == typed_[b.a]->tag && typed_[a.a]->equals(*typed_[b.a]);
    default:
      return a.a == b.a && a.lo == b.lo && a.hi == b.hi;
  }
}

void Store::grow_table() {
  std::vector<uint32_t> bigger(table_.size() * 2, kFree);
  size_t mask = bigger.size() - 1;
  for (NodeRef ref = 0; ref < nodes_.size(); ++ref) {
    size_t slot = hashes_[ref] & mask;
    while (bigger[slot] != kFree) slot = (slot + 1) & mask;
    bigger[slot] = ref;
  }
  table_ = std::move(bigger);
}

// The node equal to `node`, or `node` itself under a new name. empty() when a limit is reached.
NodeRef Store::intern(const Node& node) {
  uint64_t hash = hash_of(node);
  size_t mask = table_.size() - 1;
  size_t slot = hash & mask;
  for (; table_[slot] != kFree; slot = (slot + 1) & mask) {
    NodeRef found = table_[slot];
    if (hashes_[found] == static_cast<uint32_t>(hash) && equal(nodes_[found], node)) return found;
  }
  uint64_t size = weight();
  uint64_t base = sealed_at_ == kUnsealed ? 0 : sealed_at_;
  uint64_t maximum = sealed_at_ == kUnsealed ? limits_.ir_nodes : limits_.derived_nodes;
  if (size - base >= maximum) {
    fail(limit_exceeded(sealed_at_ == kUnsealed ? "ir_nodes" : "derived_nodes",
                        static_cast<double>(size - base) + 1, static_cast<double>(maximum)));
    return empty();
  }
  auto ref = static_cast<NodeRef>(nodes_.size());
  nodes_.push_back(node);
  hashes_.push_back(static_cast<uint32_t>(hash));
  table_[slot] = ref;
  if (nodes_.size() * 2 > table_.size()) grow_table();
  return ref;
}

NodeRef Store::make(Kind kind, Facts facts, uint32_t a, uint32_t b, uint32_t lo, uint32_t hi) {
  if (!spend(1)) return empty();
  return intern(Node{.kind = kind, .facts = facts, .live = 0, .a = a, .b = b, .lo = lo, .hi = hi});
}

NodeRef Store::make_list(Kind kind, Facts facts, std::span<const NodeRef> list) {
  if (!spend(1 + list.size() / kListItemsPerNode)) return empty();
  auto offset = static_cast<uint32_t>(lists_.size());
  lists_.insert(lists_.end(), list.begin(), list.end());
  Node node{.kind = kind,
            .facts = facts,
            .live = 0,
            .a = offset,
            .b = static_cast<uint32_t>(list.size()),
            .lo = 0,
            .hi = 0};
  uint32_t before = size();
  NodeRef ref = intern(node);
  if (size() == before) lists_.resize(offset);  // it was there already, or it did not fit
  return ref;
}

NodeRef Store::typed(std::unique_ptr<Typed> node) {
  if (!spend(1)) return empty();
  Facts facts{.regular = node->leaf, .nullable = false, .plain = node->certain};
  if (node->leaf) facts.nullable = node->nullable(*this);
  Kind kind = node->leaf ? Kind::leaf : Kind::rule;
  typed_bytes_ += node->bytes();
  auto index = static_cast<uint32_t>(typed_.size());
  typed_.push_back(std::move(node));
  uint32_t before = size();
  NodeRef ref =
      intern(Node{.kind = kind, .facts = facts, .live = 0, .a = index, .b = 0, .lo = 0, .hi = 0});
  if (size() == before) {
    typed_bytes_ -= typed_.back()->bytes();
    typed_.pop_back();
  }
  return ref;
}

uint64_t Store::memory() const {
  constexpr uint64_t kMapEntry = 40;  // a node of std::unordered_map with its share of buckets
  return nodes_.capacity() * sizeof(Node) + (hashes_.capacity() + walked_.capacity()) * 4 +
         digests_.capacity() * sizeof(Digest) + table_.capacity() * 4 + text_.capacity() +
         lists_.capacity() * 4 + sets_.capacity() * sizeof(ByteSet) + typed_bytes_ +
         typed_.capacity() * sizeof(typed_[0]) + token_bytes_ + rules_.capacity() * sizeof(Rule) +
         derived_.memory() + bodies_.memory() + kMapEntry * nullables_.size();
}

}  // namespace treadle
