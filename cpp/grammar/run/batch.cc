#include "grammar/run/batch.h"

#include <algorithm>

namespace treadle {

std::vector<uint32_t> Batch::fill(std::span<Matcher* const> matchers, const MaskRows& rows,
                                  std::span<const int64_t> index) {
  std::vector<uint32_t> misses;
  for (uint32_t i = 0; i < matchers.size(); ++i) {
    if (!matchers[i]->fill_known(rows.row(index[i]))) misses.push_back(i);
  }
  std::vector<uint8_t> bad(misses.size(), 0);
  pool_.run(misses.size(), [&](size_t miss) {
    uint32_t i = misses[miss];
    std::span<uint32_t> row = rows.row(index[i]);
    if (matchers[i]->fill(row).ok()) return;
    std::ranges::fill(row, 0u);
    bad[miss] = 1;
  });
  std::vector<uint32_t> failed;
  for (size_t miss = 0; miss < misses.size(); ++miss) {
    if (bad[miss]) failed.push_back(misses[miss]);
  }
  return failed;
}

std::vector<uint32_t> Batch::mask_ids(std::span<Matcher* const> matchers, std::span<MaskId> out) {
  std::vector<uint32_t> staged;
  for (uint32_t i = 0; i < matchers.size(); ++i) {
    out[i] = matchers[i]->mask_id();
    if (out[i] == kStagedMask) staged.push_back(i);
  }
  return staged;
}

std::vector<bool> Batch::accept(std::span<Matcher* const> matchers,
                                std::span<const TokenId> tokens) {
  std::vector<bool> accepted;
  accepted.reserve(matchers.size());
  for (size_t i = 0; i < matchers.size(); ++i) {
    Result<bool> result = matchers[i]->accept(tokens[i]);
    accepted.push_back(result.ok() && *result);
  }
  return accepted;
}

}  // namespace treadle
