// The mask of a state: one walk over the token trie, byte by byte.
#include <array>

#include "grammar/run/compiled.h"

namespace treadle {

namespace {

void set_bit(StateMask& mask, uint32_t token) {
  mask.bits[token >> 5] |= uint32_t{1} << (token & 31);
}

bool has_bit(const StateMask& mask, uint32_t token) {
  return mask.bits[token >> 5] >> (token & 31) & 1;
}

}  // namespace

// Slot d of the stack holds the state after d bytes; a dead byte skips the whole subtree. Tokens
// that cross the end of a rule simply go on: the continuation is part of the state. Nodes without a
// token set the bit after the last one, which is cheaper than a branch that guesses.
Status Compiled::walk_trie(StateId state, StateMask& out, Fuel& fuel) {
  std::array<StateId, kMaxTrieDepth + 1> stack;
  std::array<const StateId*, kMaxTrieDepth + 1> rows;
  stack[0] = state;
  rows[0] = states_.row(state);
  uint64_t epoch = states_.epoch();
  const StateId* const* all_rows = states_.rows();
  std::span<const TrieNode> nodes = vocab_->trie().nodes();
  uint32_t* bits = out.bits.data();
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
Status Compiled::walk_giants(StateId state, StateMask& out, Fuel& fuel) {
  for (uint32_t token : vocab_->trie().giants()) {
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

Status Compiled::walk(StateId state, StateMask& out) {
  Fuel fuel("step_fuel", limits_.step_fuel);
  out.bits.assign(vocab_->size() / 32 + 1, 0);
  Status status = walk_trie(state, out, fuel);
  if (!status.ok()) return status;
  out.bits[vocab_->size() >> 5] &= (uint32_t{1} << (vocab_->size() & 31)) - 1;
  status = walk_giants(state, out, fuel);
  if (!status.ok()) return status;
  for (TokenTrie::Double twin : vocab_->trie().doubles()) {
    if (has_bit(out, twin.same_as)) set_bit(out, twin.token);
  }
  for (uint32_t word : out.bits) out.count += static_cast<uint32_t>(std::popcount(word));
  return ok_status();
}

// Masks are kept until they fill half of the cache, then all are dropped: the memo of the next
// storey replaces this map.
Result<const StateMask*> Compiled::mask(StateId state) {
  auto known = masks_.find(state);
  if (known != masks_.end()) return &known->second;
  StateMask fresh;
  Status status = walk(state, fresh);
  if (!status.ok()) return status;
  uint64_t bytes = fresh.bits.size() * sizeof(uint32_t) + 64;
  if (mask_bytes_ + bytes > limits_.cache_bytes / 2) {
    masks_.clear();
    mask_bytes_ = 0;
  }
  mask_bytes_ += bytes;
  return &(masks_[state] = std::move(fresh));
}

}  // namespace treadle
