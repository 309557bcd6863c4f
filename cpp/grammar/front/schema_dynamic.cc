#include "grammar/front/schema_dynamic.h"

namespace treadle::schema {
namespace {

constexpr uint64_t kNodeCost = 8;   // fuel for one node of a copy
constexpr uint64_t kNameCost = 64;  // and for one name of a scope

}  // namespace

// The resources around the node, from the outside in; the first one to give a name keeps it.
Scopes::Scope Scopes::scope_at(uint32_t node) const {
  std::vector<uint32_t> path;
  Scope out;
  for (uint32_t at = node;; at = source_.doc.nodes[at].parent) {
    const uint32_t original = source_.original(at);
    if (index_.resource(original) == original) path.push_back(original);
    const auto copy = entered_.find(at);
    if (copy != entered_.end()) out = copy->second;
    if (copy != entered_.end() || source_.doc.nodes[at].parent == json::kNone) break;
  }
  for (size_t i = path.size(); i-- > 0;) {
    for (const auto& [name, anchor] : index_.dynamic_anchors(path[i])) out.emplace(name, anchor);
  }
  return out;
}

Result<uint32_t> Scopes::follow(json::Value argument, Keyword keyword, uint32_t target,
                                Fuel& fuel) {
  Scope scope = scope_at(argument.index());
  if (!fuel.spend((1 + scope.size()) * kNameCost)) return fuel.status();
  const auto outermost = [&](const std::string& name) {
    const auto found = scope.find(name);
    if (found != scope.end()) target = found->second;
  };
  const json::Value node = source_.at(target);
  if (keyword == Keyword::dynamic_ref) {
    const std::string_view text = argument.text();
    const json::Value anchor = node.get("$dynamicAnchor");
    const bool named = anchor && anchor.is_string() && text.ends_with(anchor.text()) &&
                       text.substr(0, text.size() - anchor.text().size()).ends_with("#");
    if (named) outermost(std::string(anchor.text()));
  } else if (keyword == Keyword::recursive_ref) {
    const json::Value anchor = node.get("$recursiveAnchor");
    if (anchor && anchor.is_boolean() && anchor.truth()) outermost("#");
  }
  for (const auto& [name, anchor] : index_.dynamic_anchors(index_.resource(target))) {
    scope.emplace(name, anchor);
  }
  if (scope == scope_at(target)) return target;
  const auto [found, fresh] = copies_.try_emplace({target, scope}, 0);
  if (fresh) {
    const auto before = source_.doc.size();
    found->second = copy_of(target);
    entered_.emplace(found->second, std::move(scope));
    if (!fuel.spend((source_.doc.size() - before) * kNodeCost)) return fuel.status();
  }
  return found->second;
}

// Appends the subtree, in preorder as it stood; its root keeps its parent, so that pointers do not
// change, but is not among that one's children.
uint32_t Scopes::copy_of(uint32_t root) {
  auto& nodes = source_.doc.nodes;
  const auto base = static_cast<uint32_t>(nodes.size());
  const auto written = static_cast<uint32_t>(base - source_.originals.size());
  uint32_t end = root + 1;
  while (end < written && nodes[end].parent != json::kNone && nodes[end].parent >= root) ++end;
  const uint32_t shift = base - root;
  for (uint32_t i = root; i < end; ++i) {
    json::Node node = nodes[i];
    if (i > root) node.parent += shift;
    if (i > root && node.next != json::kNone) node.next += shift;
    if (node.first != json::kNone) node.first += shift;
    if (i == root) node.next = json::kNone;
    nodes.push_back(node);
    source_.originals.push_back(i);
  }
  return base;
}

}  // namespace treadle::schema
