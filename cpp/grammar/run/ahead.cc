// Work done before it is asked for. A text that is being generated comes to states that nobody has
// been in: the schema of a value is parsed, its first bytes are derived, all in the fill of one
// token. Most fills only copy a mask, so such a fill does a piece of that work: one continuation,
// in the order in which the text has to come to them. It is work of the fill, in its thread and its
// order, so states and masks do not depend on timing; it draws on a budget of its own and stops
// while most of derived_nodes is left, and a failure is forgotten until the text gets there.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "grammar/run/compiled.h"
#include "grammar/typed/dispatch.h"

namespace treadle {

namespace {

constexpr uint64_t kCheapFill = 200;    // fuel of a fill that leaves time for more
constexpr uint64_t kEnough = 300;       // fuel of one fill after which no piece is begun
constexpr uint64_t kShare = 8;          // of derived_nodes: no more than that part is spent here
constexpr size_t kFewReadings = 2;      // of states that are looked beyond
constexpr size_t kMostStates = 8;       // looked at in one fill
constexpr size_t kMostLeaving = 3;      // masks on the way out of free text
constexpr size_t kLongestLeaving = 32;  // bytes of that way

bool in_word(uint8_t byte) {
  const uint8_t lower = byte | 0x20;
  return (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' ||
         byte >= 0x80;
}

}  // namespace

// Where the readings are few the text goes through what stands behind them, or is given up: next to
// nothing is worked out in vain.
bool States::ahead(StateId state, Fuel& fuel) {
  std::array<StateId, kMostStates> near{state};
  size_t count = 1;
  for (size_t i = 0; i < count; ++i) {
    const State at = list_[near[i]];
    if (at.count > kFewReadings) continue;
    for (uint32_t j = 0; j < at.count; ++j) {
      const CellId cell = configs_[at.offset + j].cell;
      if (cell >= behind_.size()) behind_.resize(cells_.size());
      if (cell == kBottom || behind_[cell].failed) continue;
      if (behind_[cell].state == kUnknown) {
        if (behind(cell, fuel).state != kFault) return true;
        (void)take_fault();
        behind_[cell].failed = true;
        return false;
      }
      const StateId to = behind_[cell].state;
      const auto end = near.begin() + count;
      if (count < near.size() && std::find(near.begin(), end, to) == end) near[count++] = to;
    }
  }
  list_[state].looked_ahead = true;
  return false;
}

// The masks on the way from free text into what ends it, such as the first bytes of a tool call.
// Tokens are taken to end where a word does, as those of most vocabularies do.
void Compiled::leave_text(StateId state) {
  Fuel fuel("step_fuel", limits_.step_fuel);
  Store& store = states_.store();
  const std::span<const Config> readings = states_.configs(state);
  const auto text = [&](const Config& config) {
    return store.regular(config.residual) && free_bytes(store, config.residual);
  };
  if (readings.size() != 2 || text(readings[0]) == text(readings[1])) return;
  NodeRef way = readings[text(readings[0]) ? 1 : 0].residual;
  if (!store.regular(way)) return;
  std::string bytes;
  while (bytes.size() < kLongestLeaving && !store.nullable(way)) {
    const ByteSet first = store.first(way);
    if (first.count() != 1) break;
    bytes += static_cast<char>(first.lowest());
    way = store.derive(way, static_cast<uint8_t>(first.lowest()));
  }
  std::vector<uint32_t> row((vocab_->size() + 31) / 32);
  StateId at = state;
  size_t made = 0;
  for (size_t i = 0; i < bytes.size() && made < kMostLeaving; ++i) {
    at = states_.next(at, static_cast<uint8_t>(bytes[i]), fuel);
    if (at == kDeadState || at == kFault) break;
    const bool inside = i + 1 < bytes.size() && in_word(static_cast<uint8_t>(bytes[i])) &&
                        in_word(static_cast<uint8_t>(bytes[i + 1]));
    if (inside) continue;
    if (!fill(at, row).ok()) break;
    ++made;
  }
}

void Compiled::ahead(StateId state, uint64_t most) {
  if (most == 0 || !states_.store().ok() || (begun_ && spent_ > kCheapFill)) return;
  Fuel fuel("step_fuel", std::min(limits_.step_fuel, most));
  const StateId clamped = states_.clamped(state, vocab_->longest(), fuel);  // known since the fill
  if (!begun_) {
    begun_ = true;
    if (state == states_.start() && !states_.worn(kShare)) leave_text(state);
  } else if (clamped != kFault && !states_.looked_ahead(clamped) && !states_.worn(kShare)) {
    while (states_.ahead(clamped, fuel) && fuel.used() < kEnough) {
    }
  }
  if (!states_.store().ok()) (void)states_.take_fault();
}

}  // namespace treadle
