#include "grammar/run/budget.h"

#include <algorithm>

namespace treadle {

namespace {

const Spent* find(const std::vector<Spent>& list, uint64_t region) {
  for (const Spent& one : list) {
    if (one.region == region) return &one;
  }
  return nullptr;
}

}  // namespace

std::vector<RegionView> regions_of(States& states, StateId state) {
  std::vector<RegionView> out;
  if (state <= kStopped || state >= kFault) return out;
  for (const Config& config : states.configs(state)) {
    front_regions(states.store(), config.residual,
                  [&](const RegionView& view) { out.push_back(view); });
  }
  return out;
}

StateId States::make(std::span<const Config> readings, bool accepting, Fuel& fuel) {
  if (!store_->ok()) return kFault;
  store_->set_fuel(&fuel, kDeriveCost);
  accepts_ = accepting;
  for (const Config& reading : readings) visit(reading.residual, reading.cell);
  StateId state = close(fuel);
  store_->set_fuel(nullptr);
  return state;
}

TokenWalk::TokenWalk(States& states, const Place& from, bool counts)
    : states_(states), state_(from.state), counts_(counts) {
  for (const RegionView& view : regions_of(states, from.state)) {
    if (find(inside_, view.form.name)) continue;
    const Spent* before = find(from.spent, view.form.name);
    inside_.push_back({view.form.name, before ? before->tokens : 0});
  }
}

void TokenWalk::step(StateId state) {
  state_ = state;
  std::vector<Spent> still;
  std::vector<Spent> entered;
  for (const RegionView& view : regions_of(states_, state)) {
    uint64_t name = view.form.name;
    if (!view.entered || find(still, name) || find(entered, name)) continue;
    if (const Spent* before = find(inside_, name)) {
      still.push_back(*before);
    } else {
      entered.push_back({name, 0});
    }
  }
  inside_ = std::move(still);
  fresh_ = std::move(entered);
}

Place TokenWalk::end(Fuel& fuel) {
  Place out{state_, {}};
  for (Spent one : inside_) {
    if (counts_) ++one.tokens;
    out.spent.push_back(one);
  }
  out.spent.insert(out.spent.end(), fresh_.begin(), fresh_.end());
  auto exhausted = [&](const RegionForm& form) {
    const Spent* one = find(out.spent, form.name);
    return one != nullptr && form.max_tokens != kOpen && one->tokens >= form.max_tokens;
  };
  bool due = false;
  for (const RegionView& view : regions_of(states_, state_)) {
    due |= view.entered && exhausted(view.form);
  }
  if (!due) return out;
  std::span<const Config> configs = states_.configs(state_);
  std::vector<Config> readings(configs.begin(), configs.end());
  Store& store = states_.store();
  store.set_fuel(&fuel, kDeriveCost);
  for (Config& reading : readings) {
    reading.residual = end_regions(store, reading.residual, exhausted);
  }
  store.set_fuel(nullptr);
  out.state = states_.make(readings, states_.accepting(state_), fuel);
  std::erase_if(out.spent, [&](const Spent& one) {
    for (const RegionView& view : regions_of(states_, out.state)) {
      if (view.entered && view.form.name == one.region) return false;
    }
    return true;
  });
  return out;
}

}  // namespace treadle
