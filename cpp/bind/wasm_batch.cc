// Many masks in one call: the matchers of a batch, the nodes of a draft. And masks by number.
#include <vector>

#include "bind/wasm_objects.h"
#include "grammar/run/batch.h"

namespace treadle::wasm {

namespace {

using MatcherPtr = std::unique_ptr<Matcher>;

// The matchers behind `count` handles, or nothing: the error is set.
std::optional<std::vector<Matcher*>> matchers_at(uint32_t address, uint32_t count) {
  const auto handles = words_at(address, count);
  if (!handles) {
    fail_address("matchers");
    return std::nullopt;
  }
  std::vector<Matcher*> out;
  for (const Handle handle : *handles) {
    const int32_t found = with<MatcherPtr>(handle, "matcher", [&](MatcherPtr& self) {
      out.push_back(self.get());
      return 0;
    });
    if (found < 0) return std::nullopt;
  }
  return out;
}

int32_t failed() {
  return -static_cast<int32_t>(module().error.code);
}

// Copies positions out, as words; how many there are.
int32_t put_positions(const std::vector<uint32_t>& positions, uint32_t address) {
  const auto out = words_at(address, static_cast<uint32_t>(positions.size()));
  if (!out) return fail_address("positions");
  std::copy(positions.begin(), positions.end(), out->begin());
  return static_cast<int32_t>(positions.size());
}

std::vector<int64_t> links(std::span<const uint32_t> words) {
  std::vector<int64_t> out;
  for (const uint32_t word : words) out.push_back(static_cast<int32_t>(word));  // -1: none
  return out;
}

}  // namespace

extern "C" {

// Fills row i, of `words` words, for matcher i. Writes the positions that failed, room for `count`;
// how many there are.
__attribute__((export_name("tr_batch_fill"))) int32_t tr_batch_fill(uint32_t matchers,
                                                                    uint32_t count, uint32_t rows,
                                                                    uint32_t words,
                                                                    uint32_t positions) {
  const auto all = matchers_at(matchers, count);
  if (!all) return failed();
  const uint64_t size = uint64_t{count} * words;
  const auto out = size > UINT32_MAX ? std::nullopt : words_at(rows, static_cast<uint32_t>(size));
  if (!out) return fail_address("rows");
  std::vector<int64_t> index;
  for (uint32_t i = 0; i < count; ++i) index.push_back(i);
  Batch batch(1);
  return put_positions(batch.fill(*all, {out->data(), count, words, words}, index), positions);
}

// Writes the number of the mask of matcher i (-1: nothing is masked, -2: not known, ask for the
// mask) and the positions of -2; how many of these there are.
__attribute__((export_name("tr_batch_mask_ids"))) int32_t tr_batch_mask_ids(uint32_t matchers,
                                                                            uint32_t count,
                                                                            uint32_t ids,
                                                                            uint32_t positions) {
  const auto all = matchers_at(matchers, count);
  if (!all) return failed();
  const auto out = words_at(ids, count);
  if (!out) return fail_address("ids");
  std::vector<MaskId> found(count, kStagedMask);
  const std::vector<uint32_t> missing = Batch::mask_ids(*all, found);
  for (uint32_t i = 0; i < count; ++i) (*out)[i] = static_cast<uint32_t>(found[i]);
  return put_positions(missing, positions);
}

// Token i for matcher i. Writes the positions of those that did not take theirs.
__attribute__((export_name("tr_batch_accept"))) int32_t tr_batch_accept(uint32_t matchers,
                                                                        uint32_t count,
                                                                        uint32_t ids,
                                                                        uint32_t positions) {
  const auto all = matchers_at(matchers, count);
  if (!all) return failed();
  const auto tokens = words_at(ids, count);
  if (!tokens) return fail_address("ids");
  const std::vector<bool> taken = Batch::accept(*all, *tokens);
  std::vector<uint32_t> refused;
  for (uint32_t i = 0; i < count; ++i) {
    if (!taken[i]) refused.push_back(i);
  }
  return put_positions(refused, positions);
}

// The masks of a draft tree of `count` nodes: three lists of words (first child, next sibling, -1
// for none; token), `count` rows of `words` words.
__attribute__((export_name("tr_matcher_fill_tree"))) int32_t
tr_matcher_fill_tree(Handle matcher, uint32_t child, uint32_t sibling, uint32_t tokens,
                     uint32_t count, uint32_t rows, uint32_t words) {
  return with<MatcherPtr>(matcher, "matcher", [&](MatcherPtr& self) {
    const auto children = words_at(child, count), siblings = words_at(sibling, count);
    const auto ids = words_at(tokens, count);
    const uint64_t size = uint64_t{count} * words;
    const auto out = size > UINT32_MAX ? std::nullopt : words_at(rows, static_cast<uint32_t>(size));
    if (!children || !siblings || !ids || !out) return fail_address("tree");
    const std::vector<int64_t> lists[] = {links(*children), links(*siblings), links(*ids)};
    const Result<bool> done = self->fill_tree({lists[0], lists[1], lists[2]},
                                              {out->data(), count, words, words}, std::nullopt);
    return done.ok() ? int32_t{*done} : fail(done.status());
  });
}

}  // extern "C"

}  // namespace treadle::wasm
