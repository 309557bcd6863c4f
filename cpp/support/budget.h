// Work budgets. Depth and time are bounded by counting work, never by guessing from the input.
#pragma once

#include <cstdint>
#include <string_view>

#include "support/result.h"

namespace treadle {

// A counter that runs out. Once spent it stays spent, so a late check is as good as an early one.
class Fuel {
 public:
  // `limit` is the field of Limits that the error will name.
  Fuel(std::string_view limit, uint64_t maximum)
      : limit_(limit), maximum_(maximum), left_(maximum) {}

  bool spend(uint64_t units = 1) {
    if (units > left_) {
      left_ = 0;
      spent_ = true;
      return false;
    }
    left_ -= units;
    return true;
  }
  bool exhausted() const { return spent_; }
  uint64_t used() const { return maximum_ - left_; }
  uint64_t left() const { return left_; }
  Status status() const {
    return limit_exceeded(limit_, static_cast<double>(maximum_) + 1, static_cast<double>(maximum_));
  }

 private:
  std::string_view limit_;
  uint64_t maximum_;
  uint64_t left_;
  bool spent_ = false;
};

}  // namespace treadle
