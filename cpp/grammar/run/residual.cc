#include "grammar/run/residual.h"

namespace treadle {

namespace {

constexpr uint32_t kStepCost = 12;  // fuel for one node touched
constexpr uint32_t kRowCost = 64;   // fuel for one row: bounds what a single walk may allocate

}  // namespace

Residuals::Residuals(Store& store, uint64_t budget)
    : store_(store), budget_(budget), all_(1, {store.empty()}) {}

ResidualId Residuals::of(NodeRef node) {
  if (node == store_.empty()) return kDeadResidual;
  if (node >= ids_.size()) ids_.resize(store_.size(), kDeadResidual);
  if (ids_[node] == kDeadResidual) {
    ids_[node] = static_cast<ResidualId>(all_.size());
    all_.push_back({node});
  }
  return ids_[node];
}

void Residuals::ask(Residual& at) {
  if (at.node != store_.empty()) at.first = store_.first(at.node);
  const unsigned count = at.first.count();
  if (count <= kNarrow) {
    size_t place = 0;
    at.first.each([&](uint8_t byte) { at.bytes[place++] = byte; });
    at.to.fill(kUnknown);
  }
  if (store_.ok()) at.count = static_cast<uint16_t>(count);  // else some bytes may be missing
}

Residuals::Literal Residuals::literal(ResidualId id) const {
  NodeRef head = all_[id].node;
  Literal out{{}, store_.eps()};
  if (store_.node(head).kind == Kind::concat) {
    out.tail = store_.node(head).b;
    head = store_.node(head).a;
  }
  if (store_.node(head).kind == Kind::bytes) out.text = store_.text(head);
  return out;
}

uint32_t* Residuals::make_row(ResidualId id) {
  Residual& at = known(id);
  uint32_t* row = table_.make(at.first, kUnknown, kDeadResidual);
  for (size_t place = 0; at.count <= kNarrow && place < at.count; ++place) {
    row[at.bytes[place]] = at.to[place];
  }
  if (store_.ok()) at.row = row;  // else some first bytes may be missing; the walk will fail
  return row;
}

uint32_t Residuals::look(ResidualId id, uint8_t byte, Fuel& fuel) {
  if (!store_.ok()) return kFault;
  Residual& at = known(id);
  if (!at.first.contains(byte)) return store_.ok() ? kDeadResidual : kFault;
  if (at.count <= kNarrow) {
    size_t place = 0;
    while (at.bytes[place] != byte) ++place;
    const uint32_t entry = at.to[place];
    return entry == kUnknown ? find(id, byte, fuel) : entry;
  }
  if (at.row != nullptr) return find(id, byte, fuel);
  make_row(id);
  if (fuel.spend(kRowCost)) return find(id, byte, fuel);
  store_.fail(fuel.status());
  return kFault;
}

uint32_t Residuals::find(ResidualId id, uint8_t byte, Fuel& fuel) {
  const NodeRef node = all_[id].node;
  store_.set_fuel(&fuel, kStepCost);
  ByteSet alike = store_.same(node, byte);
  NodeRef rest = store_.derive(node, byte);
  Result<bool> live = store_.live(rest, fuel);
  store_.set_fuel(nullptr);
  if (!live.ok()) store_.fail(live.status());
  if (!store_.ok()) return kFault;
  const uint32_t entry = *live ? entry_of(rest) : kDeadResidual;
  Residual& at = all_[id];
  alike.insert(byte);
  for (size_t place = 0; at.count <= kNarrow && place < at.count; ++place) {
    if (alike.contains(at.bytes[place])) at.to[place] = entry;
  }
  if (at.row == nullptr) return entry;
  alike.each([&](uint8_t other) {
    if (at.row[other] == kUnknown) at.row[other] = entry;
  });
  return entry;
}

void Residuals::trim() {
  if (memory() <= budget_) return;
  ids_.clear();
  all_.assign(1, {store_.empty()});
  table_.clear();
}

uint64_t Residuals::memory() const {
  return table_.memory() + ids_.capacity() * sizeof(ResidualId) +
         all_.capacity() * sizeof(Residual);
}

}  // namespace treadle
