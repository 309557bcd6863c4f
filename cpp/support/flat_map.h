// 64-bit keys to 32-bit values by open addressing: the transition tables of the core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/hash.h"

namespace treadle {

class FlatMap {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;  // no value may be this

  uint32_t find(uint64_t key) const {
    if (slots_.empty()) return kNone;
    for (size_t at = start(key);; at = (at + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[at];
      if (slot.value == kNone || slot.key == key) return slot.value;
    }
  }
  void set(uint64_t key, uint32_t value) {
    if (size_ * 4 >= slots_.size() * 3) grow();
    Slot& slot = place(key);
    size_ += slot.value == kNone ? 1 : 0;
    slot = {key, value};
  }
  size_t size() const { return size_; }
  uint64_t memory() const { return slots_.size() * sizeof(Slot); }
  void clear() {
    slots_.clear();
    size_ = 0;
  }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t value = kNone;
  };
  size_t start(uint64_t key) const { return mix(0, key) & (slots_.size() - 1); }
  Slot& place(uint64_t key) {
    size_t at = start(key);
    while (slots_[at].value != kNone && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return slots_[at];
  }
  void grow() {
    std::vector<Slot> old(slots_.empty() ? 64 : slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.value != kNone) place(slot.key) = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two, or none
  size_t size_ = 0;
};

}  // namespace treadle
