// Matchers. A call returns what it asks for, a number from 0, or an error below 0.
#include <algorithm>
#include <bit>

#include "bind/wasm_objects.h"

namespace treadle::wasm {

namespace {

using MatcherPtr = std::unique_ptr<Matcher>;

template <class Use>
int32_t with_matcher(Handle matcher, Use use) {
  return with<MatcherPtr>(matcher, "matcher", [&](MatcherPtr& self) { return use(*self); });
}

int32_t truth(const Result<bool>& result) {
  return result.ok() ? int32_t{*result} : fail(result.status());
}

int32_t done(Status status) {
  return status.ok() ? 0 : fail(std::move(status));
}

}  // namespace

extern "C" {

// A handle to a matcher at the start of a text. `count` stop tokens, or -1: the vocabulary's.
__attribute__((export_name("tr_matcher_new"))) int32_t tr_matcher_new(Handle compiled,
                                                                      uint32_t stops,
                                                                      int32_t count) {
  return with<CompiledRef>(compiled, "compiled", [&](const CompiledRef& self) {
    std::span<const TokenId> ids = self->vocab().stop_ids();
    if (count >= 0) {
      auto given = words_at(stops, static_cast<uint32_t>(count));
      if (!given) return fail_address("stop_tokens");
      ids = *given;
    }
    Result<Matcher> made = Matcher::make(self, ids);
    return made.ok() ? keep(std::make_unique<Matcher>(made.take())) : fail(made.status());
  });
}

// 1: taken; 0: not legal here, and nothing changes.
__attribute__((export_name("tr_matcher_accept"))) int32_t tr_matcher_accept(Handle matcher,
                                                                            uint32_t token) {
  return with_matcher(matcher, [&](Matcher& self) { return truth(self.accept(token)); });
}

// The same for a text, as one step.
__attribute__((export_name("tr_matcher_accept_bytes"))) int32_t
tr_matcher_accept_bytes(Handle matcher, uint32_t address, uint32_t length) {
  return with_matcher(matcher, [&](Matcher& self) {
    auto text = bytes_at(address, length);
    return text ? truth(self.accept_bytes(*text)) : fail_address("text");
  });
}

// Writes the legal tokens into `words` words; 1: something is masked.
__attribute__((export_name("tr_matcher_fill"))) int32_t tr_matcher_fill(Handle matcher,
                                                                        uint32_t row,
                                                                        uint32_t words) {
  return with_matcher(matcher, [&](Matcher& self) {
    auto out = words_at(row, words);
    return out ? truth(self.fill(*out)) : fail_address("rows");
  });
}

// Copies the bytes that every completion goes on with; how many there are.
__attribute__((export_name("tr_matcher_forced"))) int32_t tr_matcher_forced(Handle matcher,
                                                                            uint32_t buffer,
                                                                            uint32_t capacity) {
  return with_matcher(matcher, [&](Matcher& self) {
    Result<std::string> bytes = self.forced();
    return bytes.ok() ? copy_out(*bytes, buffer, capacity) : fail(bytes.status());
  });
}

// How many of the ids, which spell `forced`, stay right whatever comes after it.
__attribute__((export_name("tr_matcher_canonical"))) int32_t tr_matcher_canonical(
    Handle matcher, uint32_t forced, uint32_t length, uint32_t ids, uint32_t count) {
  return with_matcher(matcher, [&](Matcher& self) {
    auto text = bytes_at(forced, length);
    auto tokens = words_at(ids, count);
    if (!text || !tokens) return fail_address("ids");
    Result<uint64_t> kept = self.canonical(*text, *tokens);
    return kept.ok() ? static_cast<int32_t>(*kept) : fail(kept.status());
  });
}

// Writes the temperature that a rule sets, as a float; 0 when none does.
__attribute__((export_name("tr_matcher_temperature"))) int32_t
tr_matcher_temperature(Handle matcher, uint32_t out) {
  return with_matcher(matcher, [&](Matcher& self) {
    auto word = words_at(out, 1);
    if (!word) return fail_address("temperature");
    const float value = self.temperature();
    (*word)[0] = std::bit_cast<uint32_t>(value);
    return int32_t{value >= 0};
  });
}

// Length of the longest prefix of the ids that accept() would take; nothing changes.
__attribute__((export_name("tr_matcher_validate"))) int32_t tr_matcher_validate(Handle matcher,
                                                                                uint32_t ids,
                                                                                uint32_t count) {
  return with_matcher(matcher, [&](Matcher& self) {
    auto tokens = words_at(ids, count);
    if (!tokens) return fail_address("ids");
    Result<uint64_t> length = self.validate(*tokens);
    return length.ok() ? static_cast<int32_t>(*length) : fail(length.status());
  });
}

__attribute__((export_name("tr_matcher_rollback"))) int32_t tr_matcher_rollback(Handle matcher,
                                                                                uint32_t steps) {
  return with_matcher(matcher, [&](Matcher& self) { return done(self.rollback(steps)); });
}

// A handle to a second matcher at the same place.
__attribute__((export_name("tr_matcher_fork"))) int32_t tr_matcher_fork(Handle matcher) {
  return with_matcher(matcher,
                      [](Matcher& self) { return keep(std::make_unique<Matcher>(self.fork())); });
}

__attribute__((export_name("tr_matcher_reset"))) int32_t tr_matcher_reset(Handle matcher) {
  return with_matcher(matcher, [](Matcher& self) {
    self.reset();
    return 0;
  });
}

__attribute__((export_name("tr_matcher_accepting"))) int32_t tr_matcher_accepting(Handle matcher) {
  return with_matcher(matcher, [](Matcher& self) { return int32_t{self.accepting()}; });
}

__attribute__((export_name("tr_matcher_finished"))) int32_t tr_matcher_finished(Handle matcher) {
  return with_matcher(matcher, [](Matcher& self) { return int32_t{self.finished()}; });
}

__attribute__((export_name("tr_matcher_steps"))) int32_t tr_matcher_steps(Handle matcher) {
  return with_matcher(matcher, [](Matcher& self) { return static_cast<int32_t>(self.steps()); });
}

// What sticks to this matcher, as JSON; its length, 0 when nothing does.
__attribute__((export_name("tr_matcher_error"))) int32_t tr_matcher_error(Handle matcher,
                                                                          uint32_t buffer,
                                                                          uint32_t capacity) {
  return with_matcher(matcher, [&](Matcher& self) {
    Status status = self.error();
    return status.ok() ? 0 : copy_out(error_json(status, "grammar"), buffer, capacity);
  });
}

__attribute__((export_name("tr_matcher_free"))) int32_t tr_matcher_free(Handle matcher) {
  return drop<MatcherPtr>(matcher, "matcher");
}

}  // extern "C"

}  // namespace treadle::wasm
