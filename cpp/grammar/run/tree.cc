// Masks of a draft tree, by one walk from its root.
#include <algorithm>

#include "grammar/run/matcher.h"

namespace treadle {

namespace {

Status bad_tree(const char* links, size_t node, int64_t to, const char* why) {
  return invalid_request(std::string(links) + "[" + std::to_string(node) + "]",
                         std::to_string(to) + why);
}

// Each node but the root is the child or the sibling of at most one: no cycles, nothing shared.
Status check_links(const DraftTree& tree) {
  size_t count = tree.child.size();
  if (count == 0 || tree.sibling.size() != count || tree.tokens.size() != count) {
    return invalid_request("tree", "children, siblings and tokens differ in number, or are none");
  }
  if (tree.sibling[0] != -1) return bad_tree("sibling", 0, tree.sibling[0], ": the root has none");
  std::vector<bool> seen(count, false);
  seen[0] = true;
  for (auto [name, links] : {std::pair{"child", tree.child}, std::pair{"sibling", tree.sibling}}) {
    for (size_t node = 0; node < count; ++node) {
      int64_t to = links[node];
      if (to == -1) continue;
      if (to < -1 || to >= static_cast<int64_t>(count)) {
        return bad_tree(name, node, to, " is outside the tree");
      }
      if (seen[static_cast<size_t>(to)]) {
        return bad_tree(name, node, to, ": two nodes lead there, or it is the root");
      }
      seen[static_cast<size_t>(to)] = true;
    }
  }
  return ok_status();
}

TokenId token_of(int64_t id) {
  return id < 0 || id > int64_t{UINT32_MAX} ? UINT32_MAX : static_cast<TokenId>(id);
}

}  // namespace

Result<bool> Matcher::fill_tree(const DraftTree& tree, const MaskRows& rows, Deadline deadline,
                                std::span<float> temperatures) {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return error_;
  Status good = check_links(tree);
  if (!good.ok()) return good;
  if (rows.rows < static_cast<int64_t>(tree.child.size())) {
    return invalid_request("rows", std::to_string(rows.rows) + " rows for " +
                                       std::to_string(tree.child.size()) + " nodes");
  }
  if (!temperatures.empty() && temperatures.size() < tree.child.size()) {
    return invalid_request("temperatures", "fewer than there are nodes");
  }
  std::ranges::fill(temperatures, -1.0F);
  good = check_row(rows.row(0));
  if (!good.ok()) return good;
  for (size_t node = 0; node < tree.child.size(); ++node) {
    std::ranges::fill(rows.row(static_cast<int64_t>(node)), 0u);
  }
  struct Visit {
    int64_t node;
    Place from;  // before the node's token
  };
  std::vector<Visit> pending{{0, place()}};
  while (!pending.empty()) {
    if (is_past(deadline)) return false;
    auto [node, from] = std::move(pending.back());
    pending.pop_back();
    auto at = static_cast<size_t>(node);
    if (tree.sibling[at] >= 0) pending.push_back({tree.sibling[at], from});
    Place here = from;
    if (node > 0) {
      Fuel fuel("step_fuel", compiled_->limits().step_fuel);
      here = after(from, token_of(tree.tokens[at]), fuel);
      if (here.state == kFault) return stick(compiled_->states().take_fault());
      if (here.state == kDeadState) continue;
    }
    Result<bool> filled = fill_at(here.state, rows.row(node));
    if (!temperatures.empty() && options_.regions) temperatures[at] = temperature_at(here.state);
    // A draft may run into a place that no token leaves; the text itself has not.
    bool stuck = !filled.ok() && filled.status().reason == Reason::stuck && node > 0;
    if (!filled.ok() && !stuck) return stick(filled.status());
    if (!stuck && tree.child[at] >= 0) pending.push_back({tree.child[at], std::move(here)});
  }
  return true;
}

}  // namespace treadle
