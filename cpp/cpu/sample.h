// Greedy choice under a packed mask of legal tokens.
#pragma once

#include <cstddef>
#include <cstdint>

namespace treadle::cpu {

inline constexpr int64_t kNoToken = -1;

// The token of the greatest logit whose bit is set (token i = bit i % 32 of word i / 32; null: all
// are legal); ties go to the lowest id, NaN is never chosen. kNoToken if nothing is left. Sixteen
// tokens whose bits are all clear are not read.
int64_t best_token(const float* logits, size_t count, const uint32_t* mask);

}  // namespace treadle::cpu
