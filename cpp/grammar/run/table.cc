#include "grammar/run/table.h"

#include <limits>

#include "grammar/run/compiled.h"

namespace treadle {

uint32_t MaskIds::stops(std::span<const uint32_t> sorted) {
  Guard guard(lock_);
  std::vector<uint32_t> key(sorted.begin(), sorted.end());
  auto found = stops_.find(key);
  if (found != stops_.end()) return found->second;
  if (stops_.size() >= kMostStops) return kManyStops;
  auto number = static_cast<uint32_t>(stops_.size());
  stops_.emplace(std::move(key), number);
  return number;
}

MaskId MaskIds::find(uint32_t slot, uint32_t generation, uint32_t stops, bool accepting) {
  if (stops == kManyStops) return kStagedMask;
  Guard guard(lock_);
  if (slot >= slots_.size()) slots_.resize(slot + 1);
  Entry& entry = slots_[slot];
  if (entry.generation != generation) {  // what lay here is gone for good
    entry.generation = generation;
    entry.ids.clear();
  }
  uint64_t key = uint64_t{stops} << 1 | (accepting ? 1 : 0);
  for (auto [known, id] : entry.ids) {
    if (known == key) return id;
  }
  if (next_ == std::numeric_limits<MaskId>::max()) return kStagedMask;
  entry.ids.emplace_back(key, next_);
  return next_++;
}

bool Memo::touch(MaskSlot slot, uint32_t& count) {
  Guard guard(lock_);
  if (slot.index >= slots_.size()) return false;
  Slot& at = slots_[slot.index];
  if (at.used == 0 || at.generation != slot.generation) return false;
  at.used = ++clock_;
  count = at.mask.count();
  return true;
}

bool Compiled::recall(StateId state, std::span<uint32_t> row, uint32_t& count) {
  return state < slots_.size() && memo_->copy(slots_[state], row, count);
}

MaskId Compiled::mask_id(StateId state, uint32_t stops, uint32_t& count) {
  if (state >= slots_.size() || !memo_->touch(slots_[state], count)) return kStagedMask;
  MaskSlot slot = slots_[state];
  return memo_->ids.find(slot.index, slot.generation, stops, states_.accepting(state));
}

}  // namespace treadle
