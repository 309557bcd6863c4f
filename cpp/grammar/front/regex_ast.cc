#include "grammar/front/regex_ast.h"

#include <algorithm>

#include "support/hash.h"

namespace treadle::regex {

uint64_t Ast::hash_of(const Node& node) const {
  uint64_t h = mix(static_cast<uint64_t>(node.kind), uint64_t{node.lo} << 32 | node.hi);
  if (node.kind == Kind::literal) return hash_bytes(text(node), h);
  if (node.kind != Kind::concat && node.kind != Kind::any_of) {
    return mix(h, uint64_t{node.a} << 32 | node.b);
  }
  for (Id child : children(node)) h = mix(h, child);
  return h;
}

bool Ast::equal(const Node& a, const Node& b) const {
  if (a.kind != b.kind || a.lo != b.lo || a.hi != b.hi || a.b != b.b) return false;
  if (a.kind == Kind::literal) return text(a) == text(b);
  if (a.kind != Kind::concat && a.kind != Kind::any_of) return a.a == b.a;
  return std::ranges::equal(children(a), children(b));
}

Id Ast::add(Node node) {
  auto inherit = [&](Id child) {
    const Node& below = nodes_[child];
    node.has_ahead |= below.has_ahead;
    node.has_behind |= below.has_behind;
    node.has_anchor |= below.has_anchor;
  };
  switch (node.kind) {
    case Kind::concat:
    case Kind::any_of:
      for (Id child : children(node)) inherit(child);
      break;
    case Kind::repeat:
      inherit(node.a);
      break;
    case Kind::look:
      inherit(node.a);
      (node.behind ? node.has_behind : node.has_ahead) = true;
      break;
    case Kind::both:
    case Kind::minus:
      inherit(node.a);
      inherit(node.b);
      break;
    case Kind::begin:
    case Kind::end:
    case Kind::border:
      node.has_anchor = true;
      break;
    default:
      break;
  }
  auto id = static_cast<Id>(nodes_.size());
  if (!node.has_ahead && !node.has_behind && !node.has_anchor) {
    uint64_t hash = hash_of(node);
    uint32_t first = known_.find(hash);
    if (first == FlatMap::kNone) {
      known_.set(hash, id);
    } else if (equal(nodes_[first], node)) {
      return first;
    }
  }
  nodes_.push_back(node);
  return id;
}

Id Ast::literal(std::string_view utf8, uint32_t offset) {
  if (utf8.empty()) return eps(offset);
  auto start = static_cast<uint32_t>(text_.size());
  text_ += utf8;
  size_t before = size();
  Id id = add({.kind = Kind::literal,
               .a = start,
               .b = static_cast<uint32_t>(utf8.size()),
               .offset = offset});
  if (size() == before) text_.resize(start);
  return id;
}

Id Ast::chars(const CharSet& set, uint32_t offset) {
  std::vector<uint32_t>& bucket = set_index_[set.hash()];
  for (uint32_t known : bucket) {
    if (sets_[known] == set) return add({.kind = Kind::chars, .a = known, .offset = offset});
  }
  auto index = static_cast<uint32_t>(sets_.size());
  sets_.push_back(set);
  bucket.push_back(index);
  return add({.kind = Kind::chars, .a = index, .offset = offset});
}

Id Ast::list(Kind kind, std::span<const Id> children, uint32_t offset) {
  if (children.size() == 1) return children[0];
  if (children.empty()) {
    return add({.kind = kind == Kind::concat ? Kind::eps : Kind::never, .offset = offset});
  }
  auto start = static_cast<uint32_t>(lists_.size());
  lists_.insert(lists_.end(), children.begin(), children.end());
  size_t before = size();
  Id id = add(
      {.kind = kind, .a = start, .b = static_cast<uint32_t>(children.size()), .offset = offset});
  if (size() == before) lists_.resize(start);
  return id;
}

}  // namespace treadle::regex
