#include "grammar/front/regex_ast.h"

namespace treadle::regex {

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
  nodes_.push_back(node);
  return static_cast<Id>(nodes_.size() - 1);
}

Id Ast::literal(std::string_view utf8, uint32_t offset) {
  if (utf8.empty()) return eps(offset);
  auto start = static_cast<uint32_t>(text_.size());
  text_ += utf8;
  return add({.kind = Kind::literal,
              .a = start,
              .b = static_cast<uint32_t>(utf8.size()),
              .offset = offset});
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
  return add(
      {.kind = kind, .a = start, .b = static_cast<uint32_t>(children.size()), .offset = offset});
}

}  // namespace treadle::regex
