#include "grammar/run/memo.h"

#include <algorithm>

namespace treadle {

bool Memo::copy(MaskSlot slot, std::span<uint32_t> row, uint32_t& count) {
  Guard guard(lock_);
  if (slot.index >= slots_.size()) return false;
  Slot& at = slots_[slot.index];
  if (at.used == 0 || at.generation != slot.generation) return false;
  at.used = ++clock_;
  at.mask.copy_to(row);
  count = at.mask.count();
  return true;
}

MaskSlot Memo::put(const MaskBits& bits, uint32_t count) {
  uint64_t hash = bits.hash();
  Guard guard(lock_);
  auto alike = by_hash_.find(hash);
  if (alike != by_hash_.end() && slots_[alike->second].mask.equals(bits, count)) {
    slots_[alike->second].used = ++clock_;
    return {alike->second, slots_[alike->second].generation};
  }
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.mask = TokenMask(bits, count);
  slot.used = ++clock_;
  slot.hash = hash;
  by_hash_[hash] = index;
  bytes_ += slot.mask.memory() + kOverhead;
  MaskSlot out{index, slot.generation};
  if (bytes_ > budget_) sweep();
  return out;
}

void Memo::drop(uint32_t index) {
  Slot& slot = slots_[index];
  bytes_ -= slot.mask.memory() + kOverhead;
  auto known = by_hash_.find(slot.hash);
  if (known != by_hash_.end() && known->second == index) by_hash_.erase(known);
  slot.mask = TokenMask();
  slot.used = 0;
  ++slot.generation;
  free_.push_back(index);
}

// Drops what was not used for longest, until half of the budget is free. The newest mask stays
// whatever the budget: somebody is about to read it.
void Memo::sweep() {
  std::vector<std::pair<uint64_t, uint32_t>> order;
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].used != 0 && slots_[i].used != clock_) order.push_back({slots_[i].used, i});
  }
  std::sort(order.begin(), order.end());
  for (auto [used, index] : order) {
    if (bytes_ <= budget_ / 2) break;
    drop(index);
  }
}

void Memo::clear() {
  Guard guard(lock_);
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].used != 0) drop(i);
  }
}

uint64_t Memo::memory() {
  Guard guard(lock_);
  return bytes_;
}

}  // namespace treadle
