#include "grammar/run/matcher.h"

#include <algorithm>
#include <cstring>

namespace treadle {

Matcher::Matcher(CompiledRef compiled, std::vector<TokenId> stop_tokens, MatcherOptions options)
    : compiled_(std::move(compiled)),
      stop_tokens_(std::make_shared<const std::vector<TokenId>>(std::move(stop_tokens))),
      options_(std::move(options)),
      history_(std::make_shared<History>()) {
  history_->places.push_back({compiled_->states().start(), {}});
  if (options_.captures) history_->ends.push_back(0);
}

Result<Matcher> Matcher::make(CompiledRef compiled, std::span<const TokenId> stop_tokens,
                              MatcherOptions options) {
  for (TokenId token : stop_tokens) {
    if (token < compiled->vocab().size()) continue;
    return invalid_request("stop_tokens", std::to_string(token) + " is outside the vocabulary of " +
                                              std::to_string(compiled->vocab().size()));
  }
  std::vector<TokenId> sorted(stop_tokens.begin(), stop_tokens.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  Matcher matcher(std::move(compiled), std::move(sorted), std::move(options));
  const Vocab& vocab = matcher.compiled_->vocab();
  matcher.stops_number_ = matcher.compiled_->ids().stops(*matcher.stop_tokens_);
  matcher.control_stops_ = static_cast<uint32_t>(std::ranges::count_if(
      *matcher.stop_tokens_, [&](TokenId token) { return !vocab.is_text(token); }));
  return matcher;
}

bool Matcher::stops(TokenId token) const {
  return std::binary_search(stop_tokens_->begin(), stop_tokens_->end(), token);
}

Status Matcher::stick(Status status) {
  error_ = status;
  return status;
}

StateId Matcher::advance(StateId state, std::string_view bytes, Fuel& fuel) {
  States& states = compiled_->states();
  for (char byte : bytes) {
    if (state == kDeadState) break;
    if (!fuel.spend()) {
      states.store().fail(fuel.status());
      return kFault;
    }
    state = states.next(state, static_cast<uint8_t>(byte), fuel);
    if (state == kFault) break;
  }
  return state;
}

Place Matcher::after_bytes(const Place& from, std::string_view bytes, bool counts, Fuel& fuel) {
  if (!options_.regions) return {advance(from.state, bytes, fuel), {}};
  TokenWalk walk(compiled_->states(), from, counts);
  StateId at = from.state;
  for (size_t i = 0; i < bytes.size(); ++i) {
    at = advance(at, bytes.substr(i, 1), fuel);
    if (at == kDeadState || at == kFault) return {at, {}};
    walk.step(at);
  }
  return walk.end(fuel);
}

// The place after one token: kDeadState when it is not legal.
Place Matcher::after(const Place& from, TokenId token, Fuel& fuel) {
  if (from.state == kStopped) return {kDeadState, {}};
  if (stops(token)) {
    return {compiled_->states().accepting(from.state) ? kStopped : kDeadState, {}};
  }
  const Vocab& vocab = compiled_->vocab();
  Place spelled = vocab.is_text(token) ? after_bytes(from, vocab.bytes(token), true, fuel)
                                       : Place{kDeadState, {}};
  const TokenTerminals& terminals = compiled_->terminals();
  if (terminals.empty() || spelled.state == kFault || token >= vocab.size()) return spelled;
  StateId to = compiled_->states().after_token(from.state, spelled.state, token, terminals, fuel);
  return to == spelled.state ? spelled : Place{to, {}};  // no region has token terminals in it
}

// Copy on write: a history that a fork still reads, or that has a longer future, is copied once.
Result<bool> Matcher::move(Place to, std::string_view bytes) {
  if (to.state == kFault) return stick(compiled_->states().take_fault());
  if (to.state == kDeadState) return false;
  auto kept = static_cast<std::ptrdiff_t>(length_);
  if (history_.use_count() > 1) {
    auto copy = std::make_shared<History>();
    copy->places.assign(history_->places.begin(), history_->places.begin() + kept);
    if (options_.captures) {
      copy->ends.assign(history_->ends.begin(), history_->ends.begin() + kept);
      copy->text = history_->text.substr(0, copy->ends.back());
    }
    history_ = std::move(copy);
  }
  history_->places.resize(length_);
  history_->places.push_back(std::move(to));
  if (options_.captures) {
    history_->ends.resize(length_);
    history_->text.resize(history_->ends.back());
    history_->text += bytes;
    history_->ends.push_back(history_->text.size());
  }
  ++length_;
  return true;
}

Result<bool> Matcher::accept(TokenId token) {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return error_;
  Fuel fuel("step_fuel", compiled_->limits().step_fuel);
  bool text = compiled_->vocab().is_text(token) && !stops(token);
  return move(after(place(), token, fuel), text ? compiled_->vocab().bytes(token) : "");
}

Result<bool> Matcher::accept_bytes(std::string_view bytes) {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return error_;
  if (state() == kStopped) return false;
  Fuel fuel("step_fuel", compiled_->limits().step_fuel);
  return move(after_bytes(place(), bytes, false, fuel), bytes);
}

Status Matcher::check_row(std::span<const uint32_t> row) const {
  size_t words = (compiled_->vocab().size() + 31) / 32;
  if (row.size() >= words) return ok_status();
  return invalid_request("rows", "a row has " + std::to_string(row.size()) + " words, " +
                                     std::to_string(words) + " are needed");
}

// The row of text tokens, of which there are `legal`, with the stop tokens of this matcher.
Result<bool> Matcher::with_stops(StateId state, uint32_t legal, std::span<uint32_t> row) const {
  bool accepting = compiled_->states().accepting(state);
  for (TokenId token : *stop_tokens_) {
    uint32_t bit = uint32_t{1} << (token & 31);
    bool was = row[token >> 5] & bit;  // a text token that this matcher uses as a stop token
    row[token >> 5] = accepting ? row[token >> 5] | bit : row[token >> 5] & ~bit;
    legal = legal - (was ? 1 : 0) + (accepting ? 1 : 0);
  }
  if (legal == 0 && !accepting) {
    return grammar_error(Reason::stuck, "",
                         "no token of the vocabulary continues the text; loosen the "
                         "constraint or use a vocabulary with single bytes");
  }
  return legal < compiled_->vocab().size();
}

Result<bool> Matcher::fill_at(StateId state, std::span<uint32_t> row) {
  if (state == kStopped) {
    std::ranges::fill(row, 0u);
    return true;
  }
  Result<uint32_t> filled = compiled_->fill(state, row);
  if (!filled.ok()) return filled.status();
  return with_stops(state, *filled, row);
}

Result<bool> Matcher::fill(std::span<uint32_t> row) {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return error_;
  Status fits = check_row(row);
  if (!fits.ok()) return fits;
  Result<bool> masked = fill_at(state(), row);
  if (!masked.ok()) return stick(masked.status());
  if (state() != kStopped) compiled_->ahead(state(), options_.ahead_fuel);
  return masked;
}

bool Matcher::fill_known(std::span<uint32_t> row) {
  Guard guard(compiled_->lock);
  uint32_t legal = 0;
  if (!error_.ok() || !check_row(row).ok() || state() == kStopped) return false;
  return compiled_->recall(state(), row, legal) && with_stops(state(), legal, row).ok();
}

MaskId Matcher::mask_id() {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return kStagedMask;
  if (state() == kStopped) return kNothingLegal;
  uint32_t legal = 0;
  MaskId id = compiled_->mask_id(state(), stops_number_, legal);
  bool accepting = compiled_->states().accepting(state());
  bool texts_stop = control_stops_ < stop_tokens_->size();
  if (!accepting && (legal == 0 || texts_stop)) return kStagedMask;  // perhaps stuck: ask fill()
  if (legal + (accepting ? control_stops_ : 0) == compiled_->vocab().size()) return kNoMask;
  return id;
}

Status Matcher::rollback(uint64_t steps) {
  Guard guard(compiled_->lock);
  if (steps >= length_) {
    return invalid_request("rollback", std::to_string(steps) + " steps asked for, " +
                                           std::to_string(length_ - 1) + " were taken");
  }
  length_ -= steps;
  if (steps > 0) error_ = ok_status();
  return ok_status();
}

void Matcher::reset() {
  Guard guard(compiled_->lock);
  length_ = 1;
  error_ = ok_status();
}

Result<uint64_t> Matcher::validate(std::span<const TokenId> tokens) {
  Guard guard(compiled_->lock);
  if (!error_.ok()) return error_;
  Fuel fuel("step_fuel", compiled_->limits().step_fuel);
  Place at = place();
  for (size_t i = 0; i < tokens.size(); ++i) {
    at = after(at, tokens[i], fuel);
    if (at.state == kFault) return compiled_->states().take_fault();
    if (at.state == kDeadState) return i;
  }
  return tokens.size();
}

Matcher Matcher::fork() const {
  Guard guard(compiled_->lock);
  return *this;
}

Status Matcher::error() const {
  Guard guard(compiled_->lock);
  return error_;
}

bool Matcher::accepting() const {
  Guard guard(compiled_->lock);
  return state() == kStopped || compiled_->states().accepting(state());
}

bool Matcher::finished() const {
  Guard guard(compiled_->lock);
  return state() == kStopped;
}

uint64_t Matcher::steps() const {
  Guard guard(compiled_->lock);
  return length_ - 1;
}

Result<std::vector<std::pair<std::string, std::string>>> Matcher::captures(bool longest) const {
  std::vector<std::pair<std::string, std::string>> out;
  if (!options_.captures) return out;
  std::string text;
  bool finished = false;
  {
    Guard guard(compiled_->lock);
    text = history_->text.substr(0, history_->ends[length_ - 1]);
    finished = state() == kStopped;
  }
  Result<std::vector<Capture>> found = options_.captures->read(text, finished, longest);
  if (!found.ok()) return found.status();
  for (Capture& one : *found) {
    out.emplace_back(std::move(one.name), text.substr(one.begin, one.end - one.begin));
  }
  return out;
}

float Matcher::temperature_at(StateId state) const {
  float entered = -1;
  float ahead = -1;
  for (const RegionView& view : regions_of(compiled_->states(), state)) {
    if (view.form.temperature < 0) continue;
    (view.entered ? entered : ahead) = view.form.temperature;  // inner ones come later
  }
  return entered >= 0 ? entered : ahead;
}

float Matcher::temperature() const {
  Guard guard(compiled_->lock);
  return options_.regions ? temperature_at(state()) : -1;
}

}  // namespace treadle
