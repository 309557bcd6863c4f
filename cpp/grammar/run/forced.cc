// Jump-forward: the bytes that every completion of the text goes on with, and how many tokens of
// them can be taken for granted.
#include <algorithm>
#include <array>

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

// Whether a legal token begins with `begun` and goes on; `end` is the state after `begun`.
bool Matcher::runs_past(StateId end, std::string_view begun, Fuel& fuel) {
  const Vocab& vocab = compiled_->vocab();
  for (uint32_t giant : vocab.trie().giants()) {
    std::string_view text = vocab.bytes(giant);
    if (text.size() <= begun.size() || !text.starts_with(begun)) continue;
    StateId to = advance(end, text.substr(begun.size()), fuel);
    if (to != kDeadState) return true;
  }
  std::span<const TrieNode> nodes = vocab.trie().nodes();
  size_t at = 0;
  size_t stop = nodes.size();
  for (size_t depth = 0; depth < begun.size(); ++depth) {
    while (at < stop && nodes[at].byte() != static_cast<uint8_t>(begun[depth])) {
      at += nodes[at].subtree();
    }
    if (at >= stop) return false;
    stop = at + nodes[at].subtree();
    ++at;  // its first child
  }
  std::array<StateId, kMaxTrieDepth + 1> stack;
  stack[begun.size()] = end;
  while (at < stop) {
    TrieNode node = nodes[at];
    char byte = static_cast<char>(node.byte());
    StateId to = advance(stack[node.depth()], {&byte, 1}, fuel);
    if (to == kFault) return true;  // the caller looks at the fault
    if (to == kDeadState) {
      at += node.subtree();
      continue;
    }
    if (node.token() < vocab.size()) return true;
    stack[node.depth() + 1] = to;
    ++at;
  }
  return false;
}

Result<uint64_t> Matcher::canonical(std::string_view forced, std::span<const TokenId> ids) {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return error_;
  const Vocab& vocab = compiled_->vocab();
  Fuel fuel("step_fuel", compiled_->limits().step_fuel);
  StateId end = advance(state(), forced, fuel);
  size_t from = 0;
  size_t kept = 0;
  bool open = end != kDeadState && end != kFault;
  while (open && kept < ids.size() && from < forced.size()) {
    if (!vocab.is_text(ids[kept]) || stops(ids[kept])) break;
    std::string_view text = vocab.bytes(ids[kept]);
    std::string_view rest = forced.substr(from);
    if (!rest.starts_with(text)) break;
    if (rest.size() < vocab.longest() && runs_past(end, rest, fuel)) break;
    from += text.size();
    ++kept;
  }
  if (!compiled_->states().store().ok()) return stick(compiled_->states().take_fault());
  return kept;
}

}  // namespace treadle
