// A set of 64-bit keys that is nearly always tiny: a list until it grows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_set>
#include <vector>

namespace treadle {

class FlatSet {
 public:
  // False when the key was there.
  bool insert(uint64_t key) {
    if (list_.size() < kFew) {
      if (listed(key)) return false;
      list_.push_back(key);
      return true;
    }
    return !listed(key) && more_.insert(key).second;
  }
  bool contains(uint64_t key) const {
    return listed(key) || (!more_.empty() && more_.contains(key));
  }
  void clear() {
    list_.clear();
    if (!more_.empty()) more_.clear();
  }

 private:
  static constexpr size_t kFew = 24;
  bool listed(uint64_t key) const {
    return std::find(list_.begin(), list_.end(), key) != list_.end();
  }

  std::vector<uint64_t> list_;
  std::unordered_set<uint64_t> more_;
};

}  // namespace treadle
