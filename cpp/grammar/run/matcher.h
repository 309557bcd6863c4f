// A matcher: one text on its way through a compiled grammar.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/run/budget.h"
#include "grammar/run/capture.h"
#include "grammar/run/compiled.h"
#include "grammar/run/rows.h"
#include "support/deadline.h"

namespace treadle {

// A draft tree: node i holds a token; its first child and its next sibling are nodes too, or -1.
// Node 0 is the token that was accepted last, and has no sibling.
struct DraftTree {
  std::span<const int64_t> child, sibling, tokens;
};

struct MatcherOptions {
  bool regions = true;  // false: the grammar has no token budgets and no temperatures
  std::shared_ptr<CaptureReader> captures;  // null: it has no captures
  // Fuel of the work for later fills that one fill may do, 0: none; see ahead.cc.
  uint64_t ahead_fuel = 2'000;
};

// One accepted token or text is one step; history is one place a step, so rollback is O(1).
// Forks share the history until one of them moves on. An error of the core (a budget ran out, no
// token fits) sticks to this matcher until reset() or a rollback; other matchers go on. A matcher
// has one user at a time; different matchers of one grammar may be used by different threads.
class Matcher {
 public:
  // `stop_tokens` end the text where the grammar accepts.
  static Result<Matcher> make(CompiledRef compiled, std::span<const TokenId> stop_tokens,
                              MatcherOptions options = {});

  // False when the token is not legal here; the state is then unchanged. A text counts for no
  // budget of tokens.
  Result<bool> accept(TokenId token);
  Result<bool> accept_bytes(std::string_view bytes);
  // Writes the legal tokens: bit t of word t / 32. Words past the vocabulary become 0. True when
  // anything is masked. After a stop token nothing is legal.
  Result<bool> fill(std::span<uint32_t> row);
  // fill() if the mask is known already; false: nothing was written, ask fill().
  bool fill_known(std::span<uint32_t> row);
  // The number of the row that fill() would write (see MaskIds); kStagedMask when it has none yet.
  MaskId mask_id();
  Status rollback(uint64_t steps);
  Matcher fork() const;
  void reset();
  // The bytes that every completion goes on with, up to where it may end or branch (64 KiB at
  // most).
  Result<std::string> forced();
  // How many of `ids`, which spell `forced` or a prefix of it, a tokenizer would choose whatever
  // comes after: up to the first from which a legal token runs on past `forced`.
  Result<uint64_t> canonical(std::string_view forced, std::span<const TokenId> ids);
  // Length of the longest prefix of `tokens` that accept() would take; the state is untouched.
  Result<uint64_t> validate(std::span<const TokenId> tokens);
  // fill() for each node of a draft, into the row of its number; the state is untouched. Rows of
  // refused nodes, and of all below them, are zeros. False when the deadline passed before the end:
  // the rows of nodes not reached are zeros as well. `temperatures`: one a node, or none.
  Result<bool> fill_tree(const DraftTree& tree, const MaskRows& rows, Deadline deadline,
                         std::span<float> temperatures = {});
  // (name, bytes) of what was captured so far; see CaptureReader::read().
  Result<std::vector<std::pair<std::string, std::string>>> captures(bool longest) const;
  // That of the innermost rule that sets one and that the text is in, or may enter with its next
  // byte if it is in none; negative: none.
  float temperature() const;

  Status error() const;    // what sticks, or ok
  bool accepting() const;  // the text may end here
  bool finished() const;   // a stop token was accepted
  uint64_t steps() const;
  Compiled& compiled() const { return *compiled_; }

 private:
  // Forks share it while they agree; it may be longer than length_.
  struct History {
    std::vector<Place> places;
    std::string text;            // accepted bytes, if there are captures
    std::vector<uint64_t> ends;  // its length after each step
  };

  Matcher(CompiledRef compiled, std::vector<TokenId> stop_tokens, MatcherOptions options);
  const Place& place() const { return history_->places[length_ - 1]; }
  StateId state() const { return place().state; }
  StateId advance(StateId state, std::string_view bytes, Fuel& fuel);
  Place after(const Place& from, TokenId token, Fuel& fuel);
  Place after_bytes(const Place& from, std::string_view bytes, bool counts, Fuel& fuel);
  Result<bool> move(Place to, std::string_view bytes);
  float temperature_at(StateId state) const;
  Status check_row(std::span<const uint32_t> row) const;
  Result<bool> fill_at(StateId state, std::span<uint32_t> row);
  Result<bool> with_stops(StateId state, uint32_t legal, std::span<uint32_t> row) const;
  bool runs_past(StateId end, std::string_view begun, Fuel& fuel);
  bool stops(TokenId token) const;
  Status stick(Status status);

  CompiledRef compiled_;
  std::shared_ptr<const std::vector<TokenId>> stop_tokens_;
  uint32_t stops_number_ = 0;   // of these stop tokens, for mask ids
  uint32_t control_stops_ = 0;  // how many of them are no text tokens
  MatcherOptions options_;
  std::shared_ptr<History> history_;
  uint64_t length_ = 1;
  Status error_;
};

}  // namespace treadle
