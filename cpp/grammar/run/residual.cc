#include "grammar/run/residual.h"

namespace treadle {

namespace {

constexpr uint32_t kStepCost = 12;  // fuel for one node touched
constexpr uint32_t kRowCost = 64;   // fuel for one row: bounds what a single walk may allocate

}  // namespace

Residuals::Residuals(Store& store, uint64_t budget)
    : store_(store),
      budget_(budget),
      nodes_(1, store.empty()),
      rows_(1, nullptr),
      firsts_(1),
      asked_(1, 1) {}

ResidualId Residuals::of(NodeRef node) {
  if (node == store_.empty()) return kDeadResidual;
  if (node >= ids_.size()) ids_.resize(store_.size(), kDeadResidual);
  if (ids_[node] == kDeadResidual) {
    ids_[node] = static_cast<ResidualId>(nodes_.size());
    nodes_.push_back(node);
    rows_.push_back(nullptr);
    firsts_.emplace_back();
    asked_.push_back(0);
  }
  return ids_[node];
}

void Residuals::ask(ResidualId id) {
  firsts_[id] = store_.first(nodes_[id]);
  asked_[id] = store_.ok();  // else some bytes may be missing; the walk will fail
}

Residuals::Literal Residuals::literal(ResidualId id) const {
  NodeRef head = nodes_[id];
  Literal out{{}, store_.eps()};
  if (store_.node(head).kind == Kind::concat) {
    out.tail = store_.node(head).b;
    head = store_.node(head).a;
  }
  if (store_.node(head).kind == Kind::bytes) out.text = store_.text(head);
  return out;
}

uint32_t* Residuals::make_row(ResidualId id) {
  uint32_t* row = table_.make(first(id), kUnknown, kDeadResidual);
  if (!store_.ok()) return row;
  moves_.give(id, row);
  return rows_[id] = row;
}

uint32_t Residuals::find_out(ResidualId id, uint8_t byte, Fuel& fuel) {
  if (!store_.ok()) return kFault;
  if (!asked_[id]) {
    if (!fuel.spend(kRowCost)) store_.fail(fuel.status());
    first(id);
    if (!store_.ok()) return kFault;
    if (!firsts_[id].contains(byte)) return kDeadResidual;
  }
  store_.set_fuel(&fuel, kStepCost);
  ByteSet alike = store_.same(nodes_[id], byte);
  // One derivative for them all, and in all residuals with the same part.
  NodeRef rest = store_.derive(nodes_[id], static_cast<uint8_t>(alike.lowest()));
  Result<bool> live = store_.live(rest, fuel);
  store_.set_fuel(nullptr);
  if (!live.ok()) store_.fail(live.status());
  if (!store_.ok()) return kFault;
  const uint32_t entry = *live ? entry_of(rest) : kDeadResidual;
  alike &= firsts_[id];
  if (!rows_[id] && !moves_.add(id, alike, entry)) make_row(id);
  if (rows_[id]) {
    alike.each([&](uint8_t other) {
      if (rows_[id][other] == kUnknown) rows_[id][other] = entry;
    });
  }
  return entry;
}

void Residuals::trim() {
  if (memory() <= budget_) return;
  ids_.clear();
  nodes_.assign(1, store_.empty());
  rows_.assign(1, nullptr);
  firsts_.assign(1, {});
  asked_.assign(1, 1);
  moves_.clear();
  table_.clear();
}

uint64_t Residuals::memory() const {
  return table_.memory() + moves_.memory() +
         (ids_.capacity() + nodes_.capacity()) * sizeof(uint32_t) +
         rows_.capacity() * sizeof(rows_[0]) + firsts_.capacity() * (sizeof(ByteSet) + 1);
}

}  // namespace treadle
