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

constexpr uint8_t kDepth = 32;  // unions and sequences looked into

// Most of a grammar has no counter to clamp, and what stands behind one reading stands behind many,
// so what was found out of a node is kept.
class Clamp {
 public:
  Clamp(Store& store, uint32_t units, ClampMemo& memo)
      : store_(store), units_(units), memo_(memo) {}

  NodeRef operator()(NodeRef ref) { return of(ref, kDepth).node; }

 private:
  static constexpr uint8_t kChanged = 1;  // in place of how deep
  static constexpr uint8_t kWhole = UINT8_MAX;
  struct Result {
    NodeRef node;
    bool whole = true;  // nothing in it was too deep to be looked at
  };
  Result of(NodeRef ref, uint8_t depth);
  Result look(NodeRef ref, uint8_t depth);
  Result any_of(NodeRef ref, uint8_t depth);

  Store& store_;
  uint32_t units_;
  ClampMemo& memo_;
};

Clamp::Result Clamp::of(NodeRef ref, uint8_t depth) {
  const uint8_t known = ref < memo_.depths.size() ? memo_.depths[ref] : 0;
  if (known > depth) return {ref, known == kWhole};
  if (depth == 0) return {ref, false};
  const uint64_t key = uint64_t{ref} << 8 | depth;
  if (known == kChanged) {
    for (const uint64_t each : {key, key | kWhole}) {
      const uint32_t found = memo_.changed.find(each);
      if (found != FlatMap::kNone) return {found, each != key};
    }
  }
  const Result out = look(ref, static_cast<uint8_t>(depth - 1));
  if (!store_.ok()) return out;
  if (memo_.depths.size() <= ref) memo_.depths.resize(store_.size());
  if (out.node != ref) {
    memo_.changed.set(out.whole ? key | kWhole : key, out.node);
    memo_.depths[ref] = kChanged;
  } else if (known != kChanged) {
    memo_.depths[ref] = out.whole ? kWhole : static_cast<uint8_t>(depth + 1);
  }
  return out;
}

Clamp::Result Clamp::any_of(NodeRef ref, uint8_t depth) {
  std::vector<NodeRef> out;  // once a part has changed
  bool whole = true;
  for (uint32_t i = 0; i < store_.node(ref).b; ++i) {
    const NodeRef child = store_.children(ref)[i];
    const Result other = of(child, depth);
    whole &= other.whole;
    if (other.node == child) continue;
    if (out.empty()) {
      const std::span<const NodeRef> children = store_.children(ref);
      out.assign(children.begin(), children.end());
    }
    out[i] = other.node;
  }
  return {out.empty() ? ref : store_.any_of(out), whole};
}

Clamp::Result Clamp::look(NodeRef ref, uint8_t depth) {
  const Node node = store_.node(ref);
  switch (node.kind) {
    case Kind::repeat: {
      uint32_t lo = std::min(node.lo, units_ + 1);
      uint32_t hi = node.hi > units_ ? kOpen : node.hi;
      return {lo == node.lo && hi == node.hi ? ref : store_.repeat(node.a, lo, hi), true};
    }
    case Kind::concat: {
      const Result head = of(node.a, depth);
      const Result tail = of(node.b, depth);
      const bool same = head.node == node.a && tail.node == node.b;
      return {same ? ref : store_.cat(head.node, tail.node), head.whole && tail.whole};
    }
    case Kind::any_of:
      return any_of(ref, depth);
    case Kind::leaf: {
      if (NodeRef inner = recorded_inner(store_, ref); inner != store_.empty()) {
        const Result other = of(inner, depth);
        return {other.node == inner ? ref : with_inner(store_, ref, other.node), other.whole};
      }
      NodeRef text = raw_text(store_, ref);
      if (text == store_.empty()) return {ref, true};
      const Result other = of(text, depth);
      return {other.node == text ? ref : with_text(store_, ref, other.node), other.whole};
    }
    case Kind::rule: {
      NodeRef other = store_.typed_of(ref).clamped(store_, units_);
      return {other == store_.empty() ? ref : other, true};
    }
    default:
      return {ref, true};
  }
}

}  // namespace

CellId States::clamped_cell(CellId cell, uint32_t units) {
  Clamp clamp(*store_, units, clamp_memo_);
  std::vector<CellId> path;
  while (cell != kBottom && (cell >= clamped_cells_.size() || clamped_cells_[cell] == kBottom)) {
    path.push_back(cell);
    cell = cells_[cell].parent;
  }
  CellId out = cell == kBottom ? kBottom : clamped_cells_[cell];
  while (!path.empty()) {
    CellId at = path.back();
    path.pop_back();
    out = cells_.push(clamp(cells_[at].rest), out);
    if (clamped_cells_.size() <= at) clamped_cells_.resize(cells_.size(), kBottom);
    clamped_cells_[at] = out;
  }
  return out;
}

StateId States::clamped(StateId state, uint32_t units, Fuel& fuel) {
  if (state <= kStopped || !store_->ok()) return state;
  if (state < clamped_.size() && clamped_[state] != kDeadState) return clamped_[state];
  store_->set_fuel(&fuel, kDeriveCost);
  Clamp clamp(*store_, units, clamp_memo_);
  for (uint32_t i = 0; i < list_[state].count; ++i) {
    const Config config = configs_[list_[state].offset + i];
    NodeRef residual = clamp(config.residual);
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
