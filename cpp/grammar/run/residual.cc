#include "grammar/run/residual.h"

namespace treadle {

namespace {

constexpr uint32_t kStepCost = 12;  // fuel for one node touched
constexpr uint32_t kRowCost = 64;   // fuel for one row: bounds what a single walk may allocate

}  // namespace

Residuals::Residuals(Store& store, uint64_t budget)
    : store_(store), budget_(budget), nodes_(1, store.empty()), rows_(1, nullptr), firsts_(1) {}

ResidualId Residuals::of(NodeRef node) {
  if (node == store_.empty()) return kDeadResidual;
  if (node >= ids_.size()) ids_.resize(store_.size(), kDeadResidual);
  if (ids_[node] == kDeadResidual) {
    ids_[node] = static_cast<ResidualId>(nodes_.size());
    nodes_.push_back(node);
    rows_.push_back(nullptr);
    firsts_.emplace_back();
  }
  return ids_[node];
}

uint32_t* Residuals::make_row(ResidualId id) {
  if (id != kDeadResidual) firsts_[id] = store_.first(nodes_[id]);
  uint32_t* row = table_.make(firsts_[id], kUnknown, kDeadResidual);
  if (store_.ok()) rows_[id] = row;  // else some first bytes may be missing; the walk will fail
  return row;
}

uint32_t Residuals::step(ResidualId id, uint8_t byte, Fuel& fuel) {
  if (!store_.ok()) return kFault;
  bool fresh = rows_[id] == nullptr;
  uint32_t known = row(id)[byte];
  if (known != kUnknown) return known;
  if (fresh && !fuel.spend(kRowCost)) {
    store_.fail(fuel.status());
    return kFault;
  }
  store_.set_fuel(&fuel, kStepCost);
  ByteSet alike = store_.same(nodes_[id], byte);
  NodeRef rest = store_.derive(nodes_[id], byte);
  Result<bool> live = store_.live(rest, fuel);
  store_.set_fuel(nullptr);
  if (!live.ok()) store_.fail(live.status());
  if (!store_.ok()) return kFault;
  uint32_t entry = *live ? of(rest) : kDeadResidual;
  if (entry != kDeadResidual && store_.node(rest).facts.nullable) entry |= kEnds;
  uint32_t* row = rows_[id];
  alike.each([&](uint8_t other) {
    if (row[other] == kUnknown) row[other] = entry;
  });
  return entry;
}

void Residuals::trim() {
  if (memory() <= budget_) return;
  ids_.clear();
  nodes_.assign(1, store_.empty());
  rows_.assign(1, nullptr);
  firsts_.assign(1, {});
  table_.clear();
}

uint64_t Residuals::memory() const {
  return table_.memory() + (ids_.capacity() + nodes_.capacity()) * sizeof(uint32_t) +
         rows_.capacity() * sizeof(rows_[0]) + firsts_.capacity() * sizeof(ByteSet);
}

}  // namespace treadle
