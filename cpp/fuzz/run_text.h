// What the targets of the front ends share: small budgets, and a text run through what was built.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "grammar/run/state.h"

namespace treadle {

inline Limits fuzz_limits() {
  Limits limits;
  limits.compile_fuel = 200'000;
  limits.step_fuel = 200'000;
  limits.ir_nodes = 100'000;
  limits.derived_nodes = 100'000;
  limits.branches = 256;
  return limits;
}

inline void run_text(std::unique_ptr<Store> store, NodeRef root, std::string_view text,
                     const Limits& limits) {
  States states(std::move(store), limits);
  if (!states.start(root).ok()) return;
  StateId state = states.start();
  for (const char byte : text) {
    Fuel fuel("step_fuel", limits.step_fuel);
    state = states.next(state, static_cast<uint8_t>(byte), fuel);
    if (state == kDeadState || state == kFault) break;
  }
}

}  // namespace treadle
