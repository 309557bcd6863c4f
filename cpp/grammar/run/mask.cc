// The mask of a state: one walk over the token trie, byte by byte.
#include <algorithm>
#include <array>

#include "grammar/run/compiled.h"

namespace treadle {

namespace {

void set_bit(std::vector<uint32_t>& bits, uint32_t token) {
  bits[token >> 5] |= uint32_t{1} << (token & 31);
}

void clear_bit(std::vector<uint32_t>& bits, uint32_t token) {
  bits[token >> 5] &= ~(uint32_t{1} << (token & 31));
}

bool has_bit(const std::vector<uint32_t>& bits, uint32_t token) {
  return bits[token >> 5] >> (token & 31) & 1;
}

}  // namespace

// Slot d of the stack holds the state after d bytes; a dead byte skips the whole subtree. Tokens
// that cross the end of a rule simply go on: the continuation is part of the state. Nodes without a
// token set the bit after the last one, which is cheaper than a branch that guesses.
Status Compiled::walk_trie(StateId state, std::span<const TrieNode> nodes, Bits& out, Fuel& fuel) {
  std::array<StateId, kMaxTrieDepth + 1> stack;
  std::array<const StateId*, kMaxTrieDepth + 1> rows;
  stack[0] = state;
  rows[0] = states_.row(state);
  uint64_t epoch = states_.epoch();
  const StateId* const* all_rows = states_.rows();
  uint32_t* bits = out.data();
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
Status Compiled::walk_giants(StateId state, const TokenTrie& trie, Bits& out, Fuel& fuel) {
  for (uint32_t token : trie.giants()) {
    clear_bit(out, token);
    StateId at = state;
    for (char byte : vocab_->bytes(token)) {
      if (!fuel.spend()) return fuel.status();
      at = states_.next(at, static_cast<uint8_t>(byte), fuel);
      if (at == kFault) return states_.take_fault();
      if (at == kDeadState) break;
    }
    if (at != kDeadState) set_bit(out, token);
  }
  return ok_status();
}

// A loop of the state over a class of characters gives a slice: its tokens are legal unseen, and
// only the others are walked. A loop with fewer units than a token may have says nothing of longer
// tokens, unless nothing but the loop can take them.
SliceRef Compiled::slice_of(StateId state, Bits& out) {
  std::vector<NodeRef> residuals;
  for (const Config& config : states_.configs(state)) residuals.push_back(config.residual);
  Loop loop = loops_.find(states_.store(), residuals);
  if (loop.units == 0) return nullptr;
  if (loop.units < kSliceUnits && loop.longer != Loop::Longer::no) return nullptr;
  SliceRef slice = vocab_->slice(loop.chars);
  if (!slice) return nullptr;
  std::span<const uint32_t> bits = slice->at_most(loop.units);
  out.assign(bits.begin(), bits.end());
  return slice;
}

// The successor that most bytes lead to, if there is one: a text that may be anything behind its
// first characters, as the keys of an open object are.
Result<StateId> Compiled::neighbour(StateId state, Fuel& fuel) {
  constexpr unsigned kMany = 40;  // bytes that make a neighbour
  constexpr size_t kFew = 16;     // different successors
  ByteSet live = states_.first(state);
  if (live.count() < kMany) return kDeadState;
  std::array<std::pair<StateId, unsigned>, kFew> counts;
  size_t known = 0;
  StateId best = kDeadState;
  unsigned most = kMany - 1;
  while (!live.empty()) {
    auto byte = static_cast<uint8_t>(live.lowest());
    live.erase(byte);
    StateId to = states_.next(state, byte, fuel);
    if (to == kFault) return states_.take_fault();
    if (to == kDeadState || to == state) continue;
    size_t i = 0;
    while (i < known && counts[i].first != to) ++i;
    if (i == kFew) continue;
    if (i == known) counts[known++] = {to, 0};
    if (++counts[i].second > most) {
      most = counts[i].second;
      best = to;
    }
  }
  return best;
}

// Turns the mask of `beside` into that of `state` by following both through the trie. Where they
// meet in one state the rest of the subtree is right already, so only what tells them apart is
// visited: the tokens that begin like a name of the object.
Status Compiled::walk_apart(StateId state, StateId beside, Bits& out, Fuel& fuel) {
  std::array<std::pair<StateId, StateId>, kMaxTrieDepth + 1> stack;
  stack[0] = {state, beside};
  std::span<const TrieNode> nodes = vocab_->trie().nodes();
  for (size_t i = 0; i < nodes.size();) {
    TrieNode node = nodes[i];
    auto [here, there] = stack[node.depth()];
    if (!fuel.spend()) return fuel.status();
    if (there != kDeadState) there = states_.next(there, node.byte(), fuel);
    if (here != kDeadState) here = states_.next(here, node.byte(), fuel);
    if (here == kFault || there == kFault) return states_.take_fault();
    if (here == there) {
      i += node.subtree();
      continue;
    }
    if (here == kDeadState) {
      clear_bit(out, node.token());
    } else {
      set_bit(out, node.token());
    }
    stack[node.depth() + 1] = {here, there};
    ++i;
  }
  return ok_status();
}

// False when no neighbour serves.
Result<bool> Compiled::walk_beside(StateId state, Bits& out, Fuel& fuel) {
  Result<StateId> beside = neighbour(state, fuel);
  if (!beside.ok()) return beside.status();
  if (*beside == kDeadState) return false;
  Result<uint32_t> filled = fill(*beside, out, false);
  if (!filled.ok()) return filled.status();
  Status status = walk_apart(state, *beside, out, fuel);
  if (!status.ok()) return status;
  return true;
}

Status Compiled::walk(StateId state, Bits& out, bool look_beside) {
  Fuel fuel("step_fuel", limits_.step_fuel);
  out.assign(vocab_->size() / 32 + 1, 0);
  SliceRef slice = slice_of(state, out);
  Result<bool> done = false;
  if (!slice && look_beside) done = walk_beside(state, out, fuel);
  if (!done.ok()) return done.status();
  const TokenTrie& trie = slice ? slice->rest() : vocab_->trie();
  if (!*done) {
    Status status = walk_trie(state, trie.nodes(), out, fuel);
    if (!status.ok()) return status;
  }
  out[vocab_->size() >> 5] &= (uint32_t{1} << (vocab_->size() & 31)) - 1;
  Status status = walk_giants(state, trie, out, fuel);
  if (!status.ok()) return status;
  for (TokenTrie::Double twin : vocab_->trie().doubles()) {
    clear_bit(out, twin.token);
    if (has_bit(out, twin.same_as)) set_bit(out, twin.token);
  }
  return ok_status();
}

// A state and its clamped one share a slot.
Result<uint32_t> Compiled::fill(StateId state, std::span<uint32_t> row, bool look_beside) {
  uint32_t count = 0;
  if (state < slots_.size() && memo_->copy(slots_[state], row, count)) return count;
  Fuel fuel("step_fuel", limits_.step_fuel);
  StateId clamped = states_.clamped(state, vocab_->longest(), fuel);
  if (clamped == kFault) return states_.take_fault();
  slots_.resize(std::max<size_t>(slots_.size(), states_.size()));
  slots_[state] = slots_[clamped];
  if (memo_->copy(slots_[state], row, count)) return count;
  Bits bits;
  Status status = walk(clamped, bits, look_beside);
  if (!status.ok()) return status;
  TokenMask mask(std::move(bits));
  mask.copy_to(row);
  count = mask.count();
  slots_[state] = slots_[clamped] = memo_->put(std::move(mask));
  return count;
}

}  // namespace treadle
