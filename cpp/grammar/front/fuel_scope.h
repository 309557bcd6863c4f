// One compile budget for a whole source, however many front ends it passes through.
#pragma once

#include "grammar/ir/store.h"
#include "support/budget.h"

namespace treadle {

// Joins the budget that the store already draws on, or opens `compile_fuel` for the scope's life.
class FuelScope {
 public:
  FuelScope(Store& store, const Limits& limits)
      : store_(store), own_("compile_fuel", limits.compile_fuel), outer_(store.fuel()) {
    if (outer_ == nullptr) store_.set_fuel(&own_);
  }
  ~FuelScope() {
    if (outer_ == nullptr) store_.set_fuel(nullptr);
  }
  FuelScope(const FuelScope&) = delete;
  FuelScope& operator=(const FuelScope&) = delete;

  [[nodiscard]] Fuel& fuel() { return outer_ != nullptr ? *outer_ : own_; }

  // The node, unless the budget or a limit of the store ran out while it was built.
  [[nodiscard]] Result<NodeRef> close(NodeRef node) {
    if (!store_.ok()) return store_.fault();
    if (fuel().exhausted()) return fuel().status();
    return node;
  }

 private:
  Store& store_;
  Fuel own_;
  Fuel* outer_;
};

}  // namespace treadle
