// Clamped states: what a mask depends on of a state's counters.
//
// A token of u bytes goes through no repetition more than u times, so X{a,b} with a or b beyond u
// acts like X{min(a, u + 1), b > u ? no bound : b} while one token is read. States that differ only
// out there share one mask. Never below an intersection or a complement, where emptiness may hang
// on the exact count.
#include <algorithm>

#include "grammar/run/state.h"
#include "grammar/typed/recorded.h"
#include "grammar/typed/str.h"

namespace treadle {

namespace {

constexpr int kDepth = 6;  // unions and sequences looked into

NodeRef clamp(Store& store, NodeRef ref, uint32_t units, int depth) {
  const Node node = store.node(ref);
  if (depth > kDepth) return ref;
  switch (node.kind) {
    case Kind::repeat: {
      uint32_t lo = std::min(node.lo, units + 1);
      uint32_t hi = node.hi > units ? kOpen : node.hi;
      return lo == node.lo && hi == node.hi ? ref : store.repeat(node.a, lo, hi);
    }
    case Kind::concat: {
      NodeRef head = clamp(store, node.a, units, depth + 1);
      NodeRef tail = clamp(store, node.b, units, depth + 1);
      return head == node.a && tail == node.b ? ref : store.cat(head, tail);
    }
    case Kind::any_of: {
      std::span<const NodeRef> children = store.children(ref);
      std::vector<NodeRef> out(children.begin(), children.end());
      bool changed = false;
      for (NodeRef& child : out) {
        NodeRef other = clamp(store, child, units, depth + 1);
        changed |= other != child;
        child = other;
      }
      return changed ? store.any_of(out) : ref;
    }
    case Kind::leaf: {
      if (NodeRef inner = recorded_inner(store, ref); inner != store.empty()) {
        NodeRef other = clamp(store, inner, units, depth + 1);
        return other == inner ? ref : with_inner(store, ref, other);
      }
      NodeRef text = raw_text(store, ref);
      if (text == store.empty()) return ref;
      NodeRef other = clamp(store, text, units, depth + 1);
      return other == text ? ref : with_text(store, ref, other);
    }
    case Kind::rule: {
      NodeRef other = store.typed_of(ref).clamped(store, units);
      return other == store.empty() ? ref : other;
    }
    default:
      return ref;
  }
}

}  // namespace

CellId States::clamped_cell(CellId cell, uint32_t units) {
  std::vector<CellId> path;
  while (cell != kBottom && (cell >= clamped_cells_.size() || clamped_cells_[cell] == kBottom)) {
    path.push_back(cell);
    cell = cells_[cell].parent;
  }
  CellId out = cell == kBottom ? kBottom : clamped_cells_[cell];
  while (!path.empty()) {
    CellId at = path.back();
    path.pop_back();
    out = cells_.push(clamp(*store_, cells_[at].rest, units, 0), out);
    if (clamped_cells_.size() <= at) clamped_cells_.resize(cells_.size(), kBottom);
    clamped_cells_[at] = out;
  }
  return out;
}

StateId States::clamped(StateId state, uint32_t units, Fuel& fuel) {
  if (state <= kStopped || !store_->ok()) return state;
  if (state < clamped_.size() && clamped_[state] != kDeadState) return clamped_[state];
  store_->set_fuel(&fuel, kDeriveCost);
  for (uint32_t i = 0; i < list_[state].count; ++i) {
    const Config config = configs_[list_[state].offset + i];
    NodeRef residual = clamp(*store_, config.residual, units, 0);
    found_.push_back({residual, clamped_cell(config.cell, units)});
  }
  accepts_ = list_[state].accepting;
  StateId out = store_->ok() ? intern() : kFault;
  found_.clear();
  accepts_ = false;
  store_->set_fuel(nullptr);
  if (out == kFault) {
    clamped_cells_.clear();  // some may have been made from a failed node
    return kFault;
  }
  clamped_.resize(std::max<size_t>(clamped_.size(), list_.size()), kDeadState);
  clamped_[state] = out;
  return out;
}

}  // namespace treadle
