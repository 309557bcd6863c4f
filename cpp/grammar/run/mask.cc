// The mask of a state: what each residual says of every token, and what its continuation says of
// the tokens that go on behind it.
#include <algorithm>
#include <array>

#include "grammar/run/compiled.h"
#include "grammar/typed/recorded.h"

namespace treadle {

namespace {

constexpr size_t kMostPending = 20'000;  // places in tokens where a continuation begins
constexpr size_t kMostLiterals = 64;     // texts read side by side
constexpr size_t kMostReadings = 1024;   // configurations looked at one by one

}  // namespace

// Slot d of the stack holds the state after d bytes; a dead byte skips the whole subtree. Tokens
// that cross the end of a rule simply go on: the continuation is part of the state. Nodes without a
// token set the bit after the last one, which is cheaper than a branch that guesses.
Status Compiled::walk_trie(StateId state, std::span<const TrieNode> nodes, MaskBits& out,
                           Fuel& fuel) {
  std::array<StateId, kMaxTrieDepth + 1> stack;
  std::array<const StateId*, kMaxTrieDepth + 1> rows;
  stack[0] = state;
  rows[0] = states_.row(state);
  uint64_t epoch = states_.epoch();
  const StateId* const* all_rows = states_.rows();
  uint32_t* bits = out.open();
  uint64_t visited = 0;
  for (size_t i = 0; i < nodes.size(); ++visited) {
    TrieNode node = nodes[i];
    uint32_t depth = node.depth();
    StateId to = rows[depth][node.byte()];
    if (to == kUnknown) [[unlikely]] {
      to = states_.next(stack[depth], node.byte(), fuel);
      if (to == kFault) return states_.take_fault();
      all_rows = states_.rows();
      rows[depth] = all_rows[stack[depth]];
      if (states_.epoch() != epoch) {  // every row was dropped; fetch those of the path again
        epoch = states_.epoch();
        for (uint32_t d = 0; d < depth; ++d) rows[d] = all_rows[stack[d]];
      }
    }
    if (to == kDeadState) {
      i += node.subtree();
      continue;
    }
    uint32_t token = node.token();
    bits[token >> 5] |= uint32_t{1} << (token & 31);
    stack[depth + 1] = to;
    rows[depth + 1] = all_rows[to];
    ++i;
  }
  return fuel.spend(visited) ? ok_status() : fuel.status();
}

// Tokens longer than the trie is deep are tried one by one.
Status Compiled::walk_giants(StateId state, const TokenTrie& trie, MaskBits& out, Fuel& fuel) {
  for (uint32_t token : trie.giants()) {
    Status status = walk_token(state, token, out, fuel);
    if (!status.ok()) return status;
  }
  return ok_status();
}

Status Compiled::walk_token(StateId state, TokenId token, MaskBits& out, Fuel& fuel) {
  StateId at = state;
  for (char byte : vocab_->bytes(token)) {
    if (!fuel.spend()) return fuel.status();
    at = states_.next(at, static_cast<uint8_t>(byte), fuel);
    if (at == kFault) return states_.take_fault();
    if (at == kDeadState) return ok_status();
  }
  out.set(token);
  return ok_status();
}

// The tokens that hold the end of one item and more of the next: few, but to be read from the
// state itself.
Status Compiled::settle(StateId state, MaskBits& out, Fuel& fuel) {
  std::span<const TrieNode> nodes = vocab_->trie().nodes();
  for (uint32_t root : doubtful_) {
    for (uint32_t i = root; i < root + nodes[root].subtree(); ++i) {
      uint32_t token = nodes[i].token();
      if (token >= vocab_->size() || out.has(token)) continue;
      Status status = walk_token(state, token, out, fuel);
      if (!status.ok()) return status;
    }
  }
  return ok_status();
}

// Goes on behind trie node `root`, whose byte led to `entry`, one of a row of residuals. Where the
// residual may end inside a token, the rest of the token is left to the continuation.
Status Compiled::follow(uint32_t entry, const Reading& by, uint32_t root, MaskBits& out,
                        Fuel& fuel) {
  const TokenTrie& trie = vocab_->trie();
  std::span<const TrieNode> nodes = trie.nodes();
  ByteSet behind;  // what the continuation may begin with, once it was asked for
  bool asked = by.cell == kBottom;
  followed_.assign(1, {root, entry});
  while (!followed_.empty()) {
    auto [at, to] = followed_.back();
    followed_.pop_back();
    if (!fuel.spend()) return fuel.status();
    TrieNode node = nodes[at];
    bool ends = to & Residuals::kEnds;
    if (ends && by.doubt != Doubt::none) {
      doubtful_.push_back(at);
      continue;
    }
    out.set(node.token());
    if (node.subtree() == 1) continue;
    if (ends) {
      if (!asked) {
        const Behind& found = states_.behind(by.cell, fuel);
        if (found.state == kFault) return states_.take_fault();
        behind = found.first;
        asked = true;
      }
      if (trie.has_child(at, behind)) pend(by.cell, at);
    }
    ResidualId id = to & ~Residuals::kEnds;
    const Residuals::Literal literal = residuals_.literal(id);
    if (!literal.text.empty()) {
      if (!fuel.spend(literal.text.size())) return fuel.status();
      const uint32_t last = add_spelled(trie, at, literal.text, out);
      if (last != TokenTrie::kRoot) followed_.push_back({last, residuals_.entry_of(literal.tail)});
      continue;
    }
    const ByteSet first = residuals_.first(id);
    if (first.empty()) continue;
    const auto go = [&](uint32_t child) {
      uint32_t next = residuals_.step(id, nodes[child].byte(), fuel);
      if (next == Residuals::kFault) return false;
      if (next != kDeadResidual) followed_.push_back({child, next});
      return true;
    };
    bool well = true;
    if (node.subtree() >= kBushy) {
      below_.clear();
      trie.children(at, first, below_);
      for (uint32_t child : below_) well = well && go(child);
    } else {
      uint32_t end = at + node.subtree();
      for (uint32_t child = at + 1; child < end && well; child += nodes[child].subtree()) {
        well = go(child);
      }
    }
    if (!well) return states_.take_fault();
  }
  return ok_status();
}

// Goes on below trie node `node` (kRoot: from the start of all tokens).
Status Compiled::follow_below(const Reading& by, uint32_t node, MaskBits& out, Fuel& fuel) {
  const TokenTrie& trie = vocab_->trie();
  const Residuals::Literal literal = residuals_.literal(by.residual);
  if (by.doubt == Doubt::none && !literal.text.empty()) {
    if (!fuel.spend(literal.text.size())) return fuel.status();
    const uint32_t last = add_spelled(trie, node, literal.text, out);
    if (last == TokenTrie::kRoot) return ok_status();
    return follow(residuals_.entry_of(literal.tail), by, last, out, fuel);
  }
  const ByteSet& first = residuals_.first(by.residual);
  if (first.empty()) return ok_status();
  children_.clear();
  trie.children(node, first, children_);
  for (uint32_t child : children_) {
    Status status = follow_by(by, trie.nodes()[child].byte(), {&child, 1}, out, fuel);
    if (!status.ok()) return status;
  }
  return ok_status();
}

// Reads the texts in literals_, each from its trie node on, and goes on behind them.
Status Compiled::follow_literals(MaskBits& out, Fuel& fuel) {
  spelled_.clear();
  uint64_t bytes = 0;
  for (const auto& [by, node] : literals_) {
    spelled_.push_back({residuals_.literal(by.residual).text, node});
    bytes += spelled_.back().text.size();
  }
  if (!fuel.spend(bytes)) return fuel.status();
  add_spelled(vocab_->trie(), spelled_, out);
  for (size_t i = 0; i < literals_.size(); ++i) {
    if (spelled_[i].node == TokenTrie::kRoot) continue;
    const Reading& by = literals_[i].by;
    const uint32_t entry = residuals_.entry_of(residuals_.literal(by.residual).tail);
    Status status = follow(entry, by, spelled_[i].node, out, fuel);
    if (!status.ok()) return status;
  }
  literals_.clear();
  return ok_status();
}

// The readings of a state that begin with a text and have little behind it: nobody has to remember
// what such a one reaches.
Status Compiled::add_literals(StateId state, MaskBits& out, Fuel& fuel) {
  literals_.clear();
  taken_.assign(states_.configs(state).size(), 0);
  for (size_t i = 0; i < taken_.size(); ++i) {
    const Config config = states_.configs(state)[i];
    if (!states_.store().regular(config.residual)) continue;
    const ResidualId id = residuals_.of(unrecorded(states_.store(), config.residual));
    const Residuals::Literal literal = residuals_.literal(id);
    if (literal.text.empty() || states_.doubt(config.cell) != Doubt::none) continue;
    if (!residuals_.narrow(residuals_.of(literal.tail))) continue;
    taken_[i] = 1;
    literals_.push_back({{id, config.cell, Doubt::none}, TokenTrie::kRoot});
  }
  return follow_literals(out, fuel);
}

// Goes on behind what is in pending_. False when that is too much.
Result<bool> Compiled::add_pending(MaskBits& out, Fuel& fuel) {
  for (size_t at = 0;; ++at) {
    if (at == pending_.size() || literals_.size() >= kMostLiterals) {
      if (Status status = follow_literals(out, fuel); !status.ok()) return status;
    }
    if (at == pending_.size()) return true;
    if (at > kMostPending) return false;
    auto [cell, node] = pending_[at];
    if (!vocab_->trie().has_child(node, states_.hint(cell))) continue;
    const Behind behind = states_.behind(cell, fuel);
    if (behind.state == kFault) return states_.take_fault();
    if (behind.first.empty()) continue;
    for (const Reading& by : readings(behind.state)) {
      if (by.doubt == Doubt::none && !residuals_.literal(by.residual).text.empty()) {
        literals_.push_back({by, node});
        continue;
      }
      Status status = follow_below(by, node, out, fuel);
      if (!status.ok()) return status;
    }
  }
}

void Compiled::pend(CellId cell, uint32_t node) {
  if (!pending_seen_.insert(uint64_t{cell} << 32 | node)) return;
  vocab_->trie().prefetch(node);
  pending_.push_back({cell, node});
}

// The readings of a state that bytes go on in. Asked for many bytes of one state after another, so
// the last answer is kept.
std::span<const Compiled::Reading> Compiled::readings(StateId state) {
  if (state == readings_of_) return readings_;
  readings_of_ = state;
  readings_.clear();
  for (size_t i = 0; i < states_.configs(state).size(); ++i) {
    Config config = states_.configs(state)[i];
    if (!states_.store().regular(config.residual)) continue;
    NodeRef residual = unrecorded(states_.store(), config.residual);
    readings_.push_back({residuals_.of(residual), config.cell, states_.doubt(config.cell)});
  }
  return readings_;
}

// Reads `byte`, then the rest of the tokens below trie nodes that are all of this byte.
Status Compiled::follow_by(const Reading& by, uint8_t byte, std::span<const uint32_t> roots,
                           MaskBits& out, Fuel& fuel) {
  if (by.doubt == Doubt::all) {
    doubtful_.insert(doubtful_.end(), roots.begin(), roots.end());
    return ok_status();
  }
  uint32_t entry = residuals_.step(by.residual, byte, fuel);
  if (entry == kDeadResidual) return ok_status();
  if (entry == Residuals::kFault) return states_.take_fault();
  for (uint32_t root : roots) {
    Status status = follow(entry, by, root, out, fuel);
    if (!status.ok()) return status;
  }
  return ok_status();
}

// The same in every configuration of `state`.
Status Compiled::follow_all(StateId state, uint8_t byte, std::span<const uint32_t> roots,
                            MaskBits& out, Fuel& fuel) {
  for (const Reading& by : readings(state)) {
    Status status = follow_by(by, byte, roots, out, fuel);
    if (!status.ok()) return status;
  }
  return ok_status();
}

// The tokens that `config` can begin: those its residual takes whole, and of the others those that
// its continuation goes on with. A loop or a string and what stands behind it are taken apart where
// one is the same in most grammars and the other is not.
Result<bool> Compiled::add_config(Config config, MaskBits& out, Fuel& fuel) {
  Store& store = states_.store();
  if (!store.regular(config.residual)) return true;  // a token terminal
  NodeRef residual = unrecorded(store, config.residual);
  bool shared = false;
  for (;;) {
    const Node node = store.node(residual);
    if (node.kind != Kind::concat) break;
    const Node head = store.node(node.a);
    if (head.kind != Kind::repeat && head.kind != Kind::leaf) break;
    // A rest that may be empty ends where the loop does, and its continuation begins there.
    if (store.nullable(node.b)) break;
    if (reaches_.common(node.a)) {
      shared = true;
    } else if (!reaches_.short_run(node.a) || !residuals_.narrow(residuals_.of(node.b))) {
      break;
    }
    Result<ReachRef> found = reaches_.of(node.a, fuel);
    if (!found.ok()) return found.status();
    (*found)->add_to(out);
    const Reading tail{residuals_.of(node.b), config.cell, Doubt::none};
    Result<bool> added = add_after(*found, {&tail, 1}, shared, out, fuel);
    if (!added.ok() || !*added || !head.facts.nullable) return added;
    residual = node.b;
  }
  Result<ReachRef> found = reaches_.of(residual, fuel);
  if (!found.ok()) return found.status();
  (*found)->add_to(out);
  if ((states_.hint(config.cell) & (*found)->next_bytes()).empty()) return true;
  const Behind behind = states_.behind(config.cell, fuel);
  if (behind.state == kFault) return states_.take_fault();
  if ((behind.first & (*found)->next_bytes()).empty()) return true;
  return add_after(*found, readings(behind.state), shared, out, fuel);
}

// The mask as the union of what each configuration begins. False when there are too many readings
// to look at one by one: a walk over states merges them.
Result<bool> Compiled::compose(StateId state, MaskBits& out, Fuel& fuel) {
  if (states_.configs(state).size() > kMostReadings) return false;
  pending_.clear();
  pending_seen_.clear();
  doubtful_.clear();
  if (Status status = add_literals(state, out, fuel); !status.ok()) return status;
  for (size_t i = 0; i < states_.configs(state).size(); ++i) {
    if (taken_[i]) continue;
    Result<bool> added = add_config(states_.configs(state)[i], out, fuel);
    if (!added.ok() || !*added) return added;
  }
  return add_pending(out, fuel);
}

void Compiled::add_terminals(StateId state, MaskBits& out) {
  for (const Config& config : states_.configs(state)) {
    const Node& node = states_.store().node(config.residual);
    if (node.kind != Kind::token) continue;
    out.add(terminals_.bits(node));
  }
}

Status Compiled::walk(StateId state, MaskBits& out, Fuel& fuel) {
  residuals_.trim();
  readings_of_ = kUnknown;
  out.reset();
  Result<bool> composed = compose(state, out, fuel);
  if (!composed.ok()) return composed.status();
  Status done =
      *composed ? settle(state, out, fuel) : walk_trie(state, vocab_->trie().nodes(), out, fuel);
  if (!done.ok()) return done;
  if (!terminals_.empty()) add_terminals(state, out);
  out.erase(vocab_->size());
  Status status = walk_giants(state, vocab_->trie(), out, fuel);
  if (!status.ok()) return status;
  for (TokenTrie::Double twin : vocab_->trie().doubles()) {
    if (out.has(twin.same_as)) out.set(twin.token);
  }
  return ok_status();
}

// A state and its clamped one share a slot.
Result<uint32_t> Compiled::fill(StateId state, std::span<uint32_t> row) {
  uint32_t count = 0;
  spent_ = 0;
  if (state < slots_.size() && memo_->copy(slots_[state], row, count)) return count;
  Fuel fuel("step_fuel", limits_.step_fuel);
  StateId clamped = states_.clamped(state, vocab_->longest(), fuel);
  if (clamped == kFault) return states_.take_fault();
  slots_.resize(std::max<size_t>(slots_.size(), states_.size()));
  slots_[state] = slots_[clamped];
  if (memo_->copy(slots_[state], row, count)) return count;
  Status status = walk(clamped, bits_, fuel);
  if (!status.ok()) return status;
  bits_.settle();
  bits_.copy_to(row);
  count = bits_.count();
  slots_[state] = slots_[clamped] = memo_->put(bits_, count);
  spent_ = fuel.used();
  return count;
}

}  // namespace treadle
