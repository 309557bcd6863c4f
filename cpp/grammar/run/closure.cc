// The closure of a state: from (node, continuation) pairs to regular residuals.
//
// A sequence keeps its leading regular stretch as residual and pushes the rest; a rule is replaced
// by its body; a nullable residual also goes on with its continuation. Pairs are visited once, so
// unit cycles (A = A, (a*)*) end; left recursion has been turned into repetition at compile time
// (ir/leftrec.cc), so pushing while no byte is read is bounded by the grammar.
#include <algorithm>

#include "grammar/run/state.h"

namespace treadle {

void States::visit(NodeRef node, CellId cell) {
  if (node == store_->empty()) return;
  if (node == store_->eps()) {
    pop(cell);
    return;
  }
  if (visited_.insert(uint64_t{node} << 32 | cell)) work_.push_back({node, cell});
}

// The residual above `cell` may be complete here.
void States::pop(CellId cell) {
  if (cell == kBottom) {
    accepts_ = true;
    return;
  }
  if (unrolled_.contains(cell)) return;
  visit(cells_[cell].rest, cells_[cell].parent);
}

// The same where it is known what the text was: some continuations depend on it.
void States::pop(CellId cell, NodeRef residual) {
  const NodeRef rest = cell == kBottom ? store_->empty() : cells_[cell].rest;
  const NodeRef told = heard(*store_, rest, residual);
  if (told == rest) return pop(cell);
  visit(told, cells_[cell].parent);
}

CellId States::push(NodeRef rest, CellId parent) {
  if (rest == store_->eps()) return parent;
  if (cells_[parent].depth >= limits_.stack_depth) {
    fail(limit_exceeded("stack_depth", static_cast<double>(limits_.stack_depth) + 1,
                        static_cast<double>(limits_.stack_depth)));
    return parent;
  }
  return cells_.push(rest, parent);
}

// A sequence with a rule in it: (regular stretch, the rest pushed), or straight into the rule.
void States::expand_concat(Item item, Fuel&) {
  std::vector<NodeRef> stretch;
  NodeRef at = item.node;
  while (store_->node(at).kind == Kind::concat && store_->regular(store_->node(at).a)) {
    stretch.push_back(store_->node(at).a);
    at = store_->node(at).b;
  }
  if (stretch.empty()) {
    const Node node = store_->node(at);
    visit(node.a, push(node.b, item.cell));
    return;
  }
  visit(store_->concat(stretch), push(at, item.cell));
}

// One more round of x{a,b} for an x with rules in it. A nullable x reads as x{0,b}, and its empty
// rounds add nothing, so the continuation pushed here is not popped before a byte is read.
void States::expand_repeat(Item item) {
  const Node node = store_->node(item.node);
  bool empty_round = store_->nullable(node.a);
  if (node.lo == 0 || empty_round) pop(item.cell);
  uint32_t lo = node.lo == 0 || empty_round ? 0 : node.lo - 1;
  uint32_t hi = node.hi == kOpen ? kOpen : node.hi - 1;
  CellId after = push(store_->repeat(node.a, lo, hi), item.cell);
  if (empty_round && after != item.cell) unrolled_.insert(after);
  visit(node.a, after);
}

void States::expand(Item item, Fuel& fuel) {
  const Node node = store_->node(item.node);
  Result<bool> live = store_->live(item.node, fuel);
  if (!live.ok()) return fail(live.status());
  if (!*live) return;
  if (node.facts.regular) {
    found_.push_back({item.node, item.cell});
    if (node.facts.nullable) pop(item.cell, item.node);
    return;
  }
  switch (node.kind) {
    case Kind::concat:
      return expand_concat(item, fuel);
    case Kind::any_of: {
      std::vector<NodeRef> regular;
      for (uint32_t i = 0; i < node.b; ++i) {
        NodeRef child = store_->children(item.node)[i];
        if (store_->regular(child)) {
          regular.push_back(child);
        } else {
          visit(child, item.cell);
        }
      }
      if (!regular.empty()) visit(store_->any_of(regular), item.cell);
      return;
    }
    case Kind::repeat:
      return expand_repeat(item);
    case Kind::token:
      found_.push_back({item.node, item.cell});
      return;
    default: {
      Result<NodeRef> body = store_->body(item.node, fuel);
      if (!body.ok()) return fail(body.status());
      visit(*body, item.cell);
    }
  }
}

// Turns the items of work_ into an interned state.
StateId States::close(Fuel& fuel) {
  while (!work_.empty() && store_->ok()) {
    Item item = work_.back();
    work_.pop_back();
    if (!fuel.spend(kDeriveCost)) fail(fuel.status());
    expand(item, fuel);
    if (found_.size() > 2 * limits_.configs) {
      fail(limit_exceeded("configs", static_cast<double>(found_.size()),
                          static_cast<double>(limits_.configs)));
    }
  }
  StateId state = store_->ok() ? intern() : kFault;
  work_.clear();
  visited_.clear();
  unrolled_.clear();
  found_.clear();
  accepts_ = false;
  return state;
}

}  // namespace treadle
