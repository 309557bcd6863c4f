// Jump-forward: the bytes that every completion of the text goes on with.
#include "grammar/run/matcher.h"

namespace treadle {

namespace {

constexpr size_t kMaxForced = 64 << 10;

}  // namespace

Result<std::string> Matcher::forced() {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return error_;
  States& states = compiled_->states();
  Fuel fuel("step_fuel", compiled_->limits().step_fuel);
  std::string out;
  StateId at = state();
  while (at != kStopped && !states.accepting(at) && out.size() < kMaxForced) {
    ByteSet maybe = states.first(at);
    StateId only = kDeadState;
    uint8_t which = 0;
    unsigned ways = 0;
    while (!maybe.empty() && ways < 2) {
      auto byte = static_cast<uint8_t>(maybe.lowest());
      maybe.erase(byte);
      StateId to = states.next(at, byte, fuel);
      if (to == kFault) return stick(states.take_fault());
      if (to == kDeadState) continue;
      ++ways;
      only = to;
      which = byte;
    }
    if (ways != 1) break;
    out += static_cast<char>(which);
    at = only;
  }
  return out;
}

}  // namespace treadle
