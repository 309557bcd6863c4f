// Ascending numbers in half their size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace treadle {

// Where the parts of a long block begin or end: 16 bits each above the first of their group, or 32
// each once one of them lies too far above it.
class Offsets {
 public:
  void reserve(size_t count) {
    low_.reserve(count);
    base_.reserve(count / group + 1);
  }

  // `value` is no less than the one before.
  void push_back(uint32_t value) {
    if (wide_.empty()) {
      const bool first = low_.size() % group == 0;
      const uint32_t above = first ? 0 : value - base_.back();
      if (above <= UINT16_MAX) {
        if (first) base_.push_back(value);
        low_.push_back(static_cast<uint16_t>(above));
        return;
      }
      widen();
    }
    wide_.push_back(value);
  }

  [[nodiscard]] size_t size() const { return low_.size() + wide_.size(); }
  uint32_t operator[](size_t i) const {
    return wide_.empty() ? base_[i / group] + low_[i] : wide_[i];
  }

 private:
  static constexpr size_t group = 64;

  void widen() {
    wide_.reserve(low_.capacity());
    for (size_t i = 0; i < low_.size(); ++i) wide_.push_back(base_[i / group] + low_[i]);
    low_ = {};
    base_ = {};
  }

  std::vector<uint32_t> base_;
  std::vector<uint16_t> low_;
  std::vector<uint32_t> wide_;
};

}  // namespace treadle
