#include "grammar/typed/object_outlook.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "grammar/ir/store.h"

namespace treadle {
namespace {

constexpr size_t kKeysAUnit = 8;            // keys looked at for one unit of fuel
constexpr uint32_t kUnreached = kOpen / 2;  // more keys than any object has

}  // namespace

Status Outlook::find_usable() {
  const auto count = static_cast<uint32_t>(form_.keys.size());
  usable_.assign(count, false);
  claims_.assign(count, 0);
  for (uint32_t i = 0; i < count; ++i) {
    if (state_.has(i) || i < state_.next) continue;
    const ObjectKey& key = form_.keys[i];
    const Result<bool> live = store_.live(key.value, fuel_);
    if (!live) return live.status();
    usable_[i] = *live;
    for (size_t j = 0; *live && j < key.claims.size(); ++j) {
      const Result<bool> claim = store_.live(key.claims[j].value, fuel_);
      if (!claim) return claim.status();
      if (*claim) claims_[i] |= uint32_t{1} << j;
    }
    if (*live && (key.gain != 0 || claims_[i] != 0)) seekers_.push_back(i);
  }
  for (uint32_t i = 0; i < form_.extras.size(); ++i) {
    const Result<bool> live = store_.live(form_.extras[i].value, fuel_);
    if (!live) return live.status();
    if (*live) live_extras_.push_back(i);
  }
  return ok_status();
}

Status Outlook::work() {
  if (Status status = find_usable(); !status.ok()) return status;
  drop_unmet();
  free_ = form_.max == kOpen && form_.goals == 0 && state_.distinct() >= form_.min;
  const std::vector<uint32_t> base = needed(kOpen);
  closable = base.empty() && state_.distinct() >= form_.min && state_.goals == form_.goals;
  if (!std::all_of(base.begin(), base.end(), [&](uint32_t key) { return usable_[key]; })) {
    return ok_status();  // cannot be completed; no state of an object with a value gets here
  }
  uint64_t cost = 1 + (seekers_.size() << (form_.goals == 0 ? 0 : 4));
  // What is usable fits, with all that it needs.
  const bool any = free_ && !form_.declared_order;
  if (!free_ || (!simple_ && !any)) cost += form_.keys.size() / kKeysAUnit;
  for (const uint32_t key : form_.sorted) {
    if (!fuel_.spend(cost)) return fuel_.status();
    if (!usable_[key]) continue;
    if (!simple_) {
      if (any || fits(key, needed(key))) named.push_back({key, 1});
      continue;
    }
    const ObjectKey& about = form_.keys[key];
    uint32_t ways = fits_alone({key, about.gain}, base) ? 1 : 0;
    for (size_t i = 0; i < about.claims.size(); ++i) {
      if (!(claims_[key] >> i & 1)) continue;
      if (fits_alone({key, about.gain | about.claims[i].gain}, base)) ways |= uint32_t{2} << i;
    }
    if (ways != 0) named.push_back({key, ways});
  }
  for (const uint32_t extra : live_extras_) {
    if (!fuel_.spend(cost)) return fuel_.status();
    if (extra_fits(extra, base)) extras.push_back(extra);
  }
  return ok_status();
}

// A key whose companions cannot come is not usable either.
void Outlook::drop_unmet() {
  simple_ = std::all_of(form_.keys.begin(), form_.keys.end(),
                        [](const ObjectKey& key) { return key.needs.empty(); });
  if (simple_) return;
  const auto count = static_cast<uint32_t>(usable_.size());
  std::vector<std::vector<uint32_t>> needed_by(count);
  std::vector<uint32_t> gone;
  for (uint32_t key = 0; key < count; ++key) {
    for (const uint32_t need : form_.keys[key].needs) needed_by[need].push_back(key);
    if (!usable_[key] && !state_.has(key)) gone.push_back(key);
  }
  while (!gone.empty()) {
    const uint32_t need = gone.back();
    gone.pop_back();
    for (const uint32_t key : needed_by[need]) {
      if (!usable_[key]) continue;
      usable_[key] = false;
      gone.push_back(key);
    }
  }
}

// The keys that must still come once `key` (kOpen: nothing) has been read, without it.
std::vector<uint32_t> Outlook::needed(uint32_t key) const {
  std::vector<uint32_t> out;
  std::vector<bool> known(form_.keys.size(), false);
  std::vector<uint32_t> open;
  const auto visit = [&](uint32_t i) {
    if (known[i]) return;
    known[i] = true;
    open.push_back(i);
    if (!state_.has(i) && i != key) out.push_back(i);
  };
  if (key != kOpen) visit(key);
  for (uint32_t i = 0; i < form_.keys.size(); ++i) {
    if (form_.keys[i].required || state_.has(i)) visit(i);
  }
  while (!open.empty()) {
    const uint32_t i = open.back();
    open.pop_back();
    for (const uint32_t need : form_.keys[i].needs) visit(need);
  }
  return out;
}

// No key needs another: only the required keys that are still open matter, in ascending order.
bool Outlook::fits_alone(KeyRead read, const std::vector<uint32_t>& open) const {
  if (form_.declared_order && !open.empty() && open.front() < read.key) return false;
  if (free_) return true;
  const auto left = static_cast<uint32_t>(open.size()) - (form_.keys[read.key].required ? 1 : 0);
  return counts_fit(after_key(form_, state_, read), left);
}

// `needs` may name `key` itself, which is then met by reading it.
bool Outlook::fits(uint32_t key, const std::vector<uint32_t>& needs) const {
  const ObjectState next = after_key(form_, state_, {key});
  uint32_t open = 0;
  for (const uint32_t need : needs) {
    if (need == key) continue;
    ++open;
    if (form_.declared_order && need < next.next) return false;
    if (!usable_[need]) return false;
  }
  return counts_fit(next, open);
}

bool Outlook::extra_fits(uint32_t extra, const std::vector<uint32_t>& needs) const {
  if (form_.declared_order && !needs.empty()) return false;
  const ObjectState next = after_key(form_, state_, {kOpen, form_.extras[extra].gain});
  return counts_fit(next, static_cast<uint32_t>(needs.size()));
}

// least[n]: the fewest named keys, beside the required ones, that together with n of the others
// reach the goals from `next` on.
std::vector<uint32_t> Outlook::keys_to_goals(const ObjectState& next) const {
  using Table = std::vector<uint32_t>;
  Table least(size_t{form_.goals} + 1, kUnreached);
  least[next.goals] = 0;
  const auto reach = [](const Table& from, Table& to, uint32_t gain, uint32_t cost) {
    for (size_t at = 0; at < from.size(); ++at) {
      to[at | gain] = std::min(to[at | gain], from[at] + cost);
    }
  };
  for (const uint32_t i : seekers_) {
    if (next.has(i) || i < next.next) continue;
    const ObjectKey& key = form_.keys[i];
    const uint32_t cost = key.required ? 0 : 1;
    Table to = least;
    if (key.gain != 0) reach(least, to, key.gain, cost);
    for (size_t j = 0; j < key.claims.size(); ++j) {
      if (claims_[i] >> j & 1) reach(least, to, key.gain | key.claims[j].gain, cost);
    }
    least = std::move(to);
  }
  std::vector<uint32_t> out{least[form_.goals]};
  for (int others = std::popcount(form_.goals); others > 0 && !live_extras_.empty(); --others) {
    Table to(least.size(), kUnreached);
    for (const uint32_t extra : live_extras_) reach(least, to, form_.extras[extra].gain, 0);
    least = std::move(to);
    out.push_back(least[form_.goals]);
  }
  return out;
}

// Whether `open` more required keys, the goals and the minimum can be met from `next` on.
bool Outlook::counts_fit(const ObjectState& next, uint32_t open) const {
  if (form_.goals == next.goals) return counts_fit(next, open, 0);
  const std::vector<uint32_t> named_keys = keys_to_goals(next);
  for (uint32_t others = 0; others < named_keys.size(); ++others) {
    if (named_keys[others] >= kUnreached) continue;
    if (counts_fit(next, open + named_keys[others], others)) return true;
  }
  return false;
}

// `open` named keys and `others` unnamed ones, which may be equal, are to come.
bool Outlook::counts_fit(const ObjectState& next, uint32_t open, uint32_t others) const {
  const uint64_t slots = form_.max == kOpen ? UINT64_MAX : form_.max - next.members;
  const uint64_t taken = uint64_t{open} + others;
  if (form_.max != kOpen && (next.members > form_.max || slots < taken)) return false;
  if (next.distinct() >= form_.min) return true;
  const uint64_t missing = form_.min - next.distinct();
  // All of them but one among the others help towards the minimum.
  const uint64_t repeated = others == 0 ? 0 : others - (next.extra ? 0 : 1);
  if (missing > slots - std::min(slots, repeated)) return false;
  uint64_t left = live_extras_.empty() || next.extra ? 0 : 1;
  for (uint32_t key = next.next; key < usable_.size() && left < missing; ++key) {
    if (usable_[key] && !next.has(key)) ++left;
  }
  return left >= missing;
}

// Chooses keys one after the other: found[count][goals] is empty when no choice of `count` named
// keys, all required ones among them, has values and reaches the goals.
Result<NodeRef> goals_witness(Store& store, const ObjectForm& form, Fuel& fuel) {
  const auto sure = static_cast<uint32_t>(std::count_if(
      form.keys.begin(), form.keys.end(), [](const ObjectKey& key) { return key.required; }));
  const auto goals = static_cast<uint32_t>(std::popcount(form.goals));
  const auto most = static_cast<uint32_t>(std::min<uint64_t>(
      {std::max<uint64_t>(form.min, uint64_t{sure} + goals), form.max, form.keys.size()}));
  if (form.min > form.max || sure > most) return store.empty();
  const size_t width = size_t{form.goals} + 1;
  using Table = std::vector<NodeRef>;
  const auto take = [&](const Table& from, Table& to, NodeRef value, uint32_t gain, size_t step) {
    for (size_t at = 0; at + step < from.size(); ++at) {
      if (from[at] == store.empty()) continue;
      const size_t reached = at % width;
      NodeRef& after = to[at - reached + step + (reached | gain)];
      after = store.alt(after, store.cat(value, from[at]));
    }
  };
  const Table nothing((size_t{most} + 1) * width, store.empty());
  Table found = nothing;
  found[0] = store.eps();
  for (const ObjectKey& key : form.keys) {
    if (!fuel.spend(found.size() * (1 + key.claims.size()))) return fuel.status();
    Table next = key.required ? nothing : found;
    take(found, next, key.value, key.gain, width);
    for (const KeyClaim& claim : key.claims) {
      take(found, next, claim.value, key.gain | claim.gain, width);
    }
    found = std::move(next);
  }
  std::vector<NodeRef> out;
  for (uint32_t others = 0; others <= std::max<uint32_t>(goals, 1); ++others) {
    for (uint32_t count = 0; count <= most; ++count) {
      const bool fits = count + others <= form.max && count + std::min(others, 1u) >= form.min;
      if (fits) out.push_back(found[count * width + form.goals]);
    }
    Table next = nothing;
    if (!fuel.spend(found.size() * (1 + form.extras.size()))) return fuel.status();
    for (const ExtraKeys& extra : form.extras) take(found, next, extra.value, extra.gain, 0);
    found = std::move(next);
  }
  return store.any_of(out);
}

}  // namespace treadle
