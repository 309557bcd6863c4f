#include "grammar/run/batch.h"

#include <algorithm>

namespace treadle {

std::vector<uint32_t> fill_batch(std::span<Matcher* const> matchers, const MaskRows& rows,
                                 std::span<const int64_t> index) {
  std::vector<uint32_t> failed;
  for (uint32_t i = 0; i < matchers.size(); ++i) {
    std::span<uint32_t> row = rows.row(index[i]);
    if (matchers[i]->fill(row).ok()) continue;
    std::ranges::fill(row, 0u);
    failed.push_back(i);
  }
  return failed;
}

std::vector<bool> accept_batch(std::span<Matcher* const> matchers,
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
