// A matcher: one text on its way through a compiled grammar.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/run/compiled.h"

namespace treadle {

// One accepted token or text is one step; history is one state id a step, so rollback is O(1).
// Forks share the history until one of them moves on. An error of the core (a budget ran out, no
// token fits) sticks to this matcher until reset() or a rollback; other matchers go on.
class Matcher {
 public:
  // `stop_tokens` end the text where the grammar accepts.
  static Result<Matcher> make(CompiledRef compiled, std::span<const TokenId> stop_tokens);

  // False when the token is not legal here; the state is then unchanged.
  Result<bool> accept(TokenId token);
  Result<bool> accept_bytes(std::string_view bytes);
  // Writes the legal tokens: bit t of word t / 32. Words past the vocabulary become 0. True when
  // anything is masked. After a stop token nothing is legal.
  Result<bool> fill(std::span<uint32_t> row);
  Status rollback(uint64_t steps);
  Matcher fork() const;
  void reset();
  // The bytes that every completion goes on with, up to where it may end or branch (64 KiB at
  // most).
  Result<std::string> forced();
  // Length of the longest prefix of `tokens` that accept() would take; the state is untouched.
  Result<uint64_t> validate(std::span<const TokenId> tokens);

  Status error() const;    // what sticks, or ok
  bool accepting() const;  // the text may end here
  bool finished() const;   // a stop token was accepted
  uint64_t steps() const;
  Compiled& compiled() const { return *compiled_; }

 private:
  Matcher(CompiledRef compiled, std::vector<TokenId> stop_tokens);
  StateId state() const { return (*history_)[length_ - 1]; }
  StateId advance(StateId state, std::string_view bytes, Fuel& fuel);
  StateId after(StateId state, TokenId token, Fuel& fuel);
  bool stops(TokenId token) const;
  void push(StateId state);
  Status stick(Status status);

  CompiledRef compiled_;
  std::shared_ptr<const std::vector<TokenId>> stop_tokens_;
  std::shared_ptr<std::vector<StateId>> history_;  // may be longer than length_, if shared
  uint64_t length_ = 1;
  Status error_;
};

}  // namespace treadle
