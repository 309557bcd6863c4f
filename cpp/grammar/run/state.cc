#include "grammar/run/state.h"

#include <algorithm>

#include "support/hash.h"

namespace treadle {

namespace {

constexpr uint32_t kFreeSlot = UINT32_MAX;
constexpr uint64_t kLeastMoves = 64 << 10;  // bytes kept whatever the cache: a walk needs some

}  // namespace

States::States(std::unique_ptr<Store> store, const Limits& limits)
    : limits_(limits), store_(std::move(store)), table_(64, kFreeSlot), unset_(256, kUnknown) {
  list_.resize(2);  // the dead state and the stopped one
  hashes_.resize(2);
  rows_.assign(2, unset_.data());
}

std::span<const Config> States::configs(StateId state) const {
  return {configs_.data() + list_[state].offset, list_[state].count};
}

Status States::start(NodeRef root) {
  Fuel fuel("compile_fuel", limits_.compile_fuel);
  store_->set_fuel(&fuel);
  Result<bool> live = store_->live(root, fuel);
  if (live.ok() && *live) {
    visit(root, kBottom);
    start_ = close(fuel);
  }
  store_->set_fuel(nullptr);
  if (!live.ok()) return live.status();
  if (!*live) return unsatisfiable("", "no text at all matches; loosen the constraint");
  return start_ == kFault ? take_fault() : ok_status();
}

uint64_t States::memory() const {
  return store_->memory() + cells_.memory() + behind_.capacity() * sizeof(Behind) +
         configs_.capacity() * sizeof(Config) + list_.capacity() * sizeof(State) +
         (hashes_.capacity() + table_.capacity() + clamped_.capacity() +
          clamped_cells_.capacity()) *
             sizeof(uint32_t) +
         clamp_memo_.depths.capacity() + clamp_memo_.changed.memory() + moves_.memory() +
         rows_.capacity() * sizeof(rows_[0]) + made_rows_.memory();
}

bool States::worn(uint64_t share) const {
  return list_.size() * share > limits_.derived_nodes || store_->worn(share);
}

ByteSet States::first(StateId state) {
  ByteSet out;
  for (size_t i = 0; i < list_[state].count; ++i) {
    out |= store_->first(configs_[list_[state].offset + i].residual);
  }
  return out;
}

// All transitions are dropped when they outgrow the cache: they are cheap to find again.
void States::drop_moves() {
  rows_.assign(rows_.size(), unset_.data());
  made_rows_.clear();
  moves_.clear();
  ++epoch_;
}

void States::add_moves(StateId state, const ByteSet& bytes, StateId to) {
  if (rows_[state] == unset_.data()) {
    if (moves_.add(state, bytes, to)) return;
    StateId* fresh = made_rows_.make(ByteSet::all(), kUnknown, kDeadState);
    moves_.give(state, fresh);
    rows_[state] = fresh;
  }
  auto* row = const_cast<StateId*>(rows_[state]);
  bytes.each([&](uint8_t byte) {
    if (row[byte] == kUnknown) row[byte] = to;
  });
}

StateId States::next(StateId state, uint8_t byte, Fuel& fuel) {
  if (!store_->ok()) return kFault;
  StateId known = rows_[state][byte];
  if (known == kUnknown) known = moves_.find(state, byte);
  if (known != kUnknown) return known;
  const uint64_t bytes = made_rows_.memory() + moves_.memory();
  if (bytes > kLeastMoves && bytes > limits_.cache_bytes / 2) drop_moves();
  if (rows_[state] == unset_.data() && !moves_.any(state)) {
    const ByteSet dead = state > kStopped ? ~first(state) : ByteSet::all();
    add_moves(state, dead, kDeadState);
    if (dead.contains(byte)) return kDeadState;
  }
  store_->set_fuel(&fuel, kDeriveCost);
  StateId to = compute(state, byte, fuel);
  store_->set_fuel(nullptr);
  return to;
}

StateId States::after_token(StateId state, StateId spelled, TokenId token,
                            const TokenTerminals& terminals, Fuel& fuel) {
  if (!store_->ok()) return kFault;
  bool taken = false;
  store_->set_fuel(&fuel, kDeriveCost);
  for (uint32_t i = 0; i < list_[state].count; ++i) {
    Config config = configs_[list_[state].offset + i];
    if (store_->regular(config.residual)) continue;
    if (!terminals.takes(store_->node(config.residual), token)) continue;
    taken = true;
    pop(config.cell);
  }
  if (!taken) {
    store_->set_fuel(nullptr);
    return spelled;
  }
  for (uint32_t i = 0; i < list_[spelled].count; ++i) {
    Config config = configs_[list_[spelled].offset + i];
    visit(config.residual, config.cell);
  }
  accepts_ |= list_[spelled].accepting;
  StateId to = close(fuel);
  store_->set_fuel(nullptr);
  return to;
}

const Behind& States::behind(CellId cell, Fuel& fuel) {
  if (cell >= behind_.size()) behind_.resize(cells_.size());
  if (behind_[cell].state != kUnknown) return behind_[cell];
  static const Behind kFailed{kFault, false, {}};
  if (!store_->ok()) return kFailed;
  store_->set_fuel(&fuel, kDeriveCost);
  pop(cell);
  StateId state = close(fuel);
  store_->set_fuel(nullptr);
  if (state == kFault) return kFailed;
  return behind_[cell] = {state, false, first(state)};
}

ByteSet States::hint(CellId cell) {
  if (cell < behind_.size() && behind_[cell].state != kUnknown) return behind_[cell].first;
  if (cell == kBottom) return {};
  NodeRef rest = cells_[cell].rest;
  if (store_->node(rest).kind == Kind::concat) rest = store_->node(rest).a;
  const Node head = store_->node(rest);
  if (head.kind == Kind::rule) return store_->typed_of(rest).first(*store_);
  if (head.facts.regular && !head.facts.nullable) return store_->first(rest);
  return ByteSet::all();
}

// The transition on `byte`, filled in for all bytes that no residual tells from it.
StateId States::compute(StateId state, uint8_t byte, Fuel& fuel) {
  const State from = list_[state];
  ByteSet alike = ByteSet::all();
  for (uint32_t i = 0; i < from.count; ++i) {
    Config config = configs_[from.offset + i];
    if (!store_->regular(config.residual)) continue;  // a token terminal: no byte leads into it
    const ByteSet same = store_->same(config.residual, byte);
    alike &= same;
    visit(store_->derive(config.residual, static_cast<uint8_t>(same.lowest())), config.cell);
  }
  StateId to = close(fuel);
  if (to == kFault) return to;
  add_moves(state, alike, to);
  return to;
}

void States::grow_table() {
  std::vector<StateId> bigger(table_.size() * 2, kFreeSlot);
  size_t mask = bigger.size() - 1;
  for (StateId id = kStopped + 1; id < list_.size(); ++id) {
    size_t slot = hashes_[id] & mask;
    while (bigger[slot] != kFreeSlot) slot = (slot + 1) & mask;
    bigger[slot] = id;
  }
  table_ = std::move(bigger);
}

// The state of the configurations in found_: one regular residual a continuation, sorted.
StateId States::intern() {
  auto order = [](const Config& x, const Config& y) {
    return x.cell != y.cell ? x.cell < y.cell : x.residual < y.residual;
  };
  if (found_.size() > 1) std::sort(found_.begin(), found_.end(), order);
  size_t kept = 0;
  for (size_t i = 0; i < found_.size();) {
    CellId cell = found_[i].cell;
    NodeRef merged = found_[i].residual;
    size_t end = i + 1;
    while (end < found_.size() && found_[end].cell == cell) ++end;
    if (end > i + 1) {
      residuals_.clear();
      for (size_t j = i; j < end; ++j) {
        const NodeRef residual = found_[j].residual;
        if (store_->regular(residual)) {
          residuals_.push_back(residual);
        } else if (j == i || residual != found_[j - 1].residual) {
          found_[kept++] = found_[j];  // a token terminal is taken whole, and so stays apart
        }
      }
      merged = store_->any_of(residuals_);
    }
    if (merged != store_->empty()) found_[kept++] = {merged, cell};
    i = end;
  }
  found_.resize(kept);
  if (!store_->ok()) return kFault;
  if (kept == 0 && !accepts_) return kDeadState;
  uint64_t h = accepts_;
  for (const Config& config : found_) h = mix(h, uint64_t{config.residual} << 32 | config.cell);
  size_t mask = table_.size() - 1;
  size_t slot = h & mask;
  for (; table_[slot] != kFreeSlot; slot = (slot + 1) & mask) {
    StateId id = table_[slot];
    if (hashes_[id] == static_cast<uint32_t>(h) && list_[id].accepting == accepts_ &&
        std::ranges::equal(configs(id), found_)) {
      return id;
    }
  }
  if (list_.size() + configs_.size() / 4 >= limits_.derived_nodes) {
    fail(limit_exceeded("derived_nodes", static_cast<double>(list_.size()) + 1,
                        static_cast<double>(limits_.derived_nodes)));
    return kFault;
  }
  if (kept > limits_.configs) {
    fail(
        limit_exceeded("configs", static_cast<double>(kept), static_cast<double>(limits_.configs)));
    return kFault;
  }
  auto id = static_cast<StateId>(list_.size());
  list_.push_back(
      {static_cast<uint32_t>(configs_.size()), static_cast<uint32_t>(kept), accepts_, false});
  configs_.insert(configs_.end(), found_.begin(), found_.end());
  hashes_.push_back(static_cast<uint32_t>(h));
  rows_.push_back(unset_.data());
  table_[slot] = id;
  if (list_.size() * 2 > table_.size()) grow_table();
  return id;
}

}  // namespace treadle
