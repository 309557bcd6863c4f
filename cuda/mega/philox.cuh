// Noise of a draw: Philox4x32-10 words by token, the same as everywhere else in the project
// (treadle.backends.philox). Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC
// 2011).
#pragma once

namespace treadle::mega {

/// The four words of counter (step, block, 0, 0): of tokens 4 * block on.
TM_DEVICE uint4 philox(uint32_t key0, uint32_t key1, uint32_t step, uint32_t block) {
  uint4 c = make_uint4(step, block, 0, 0);
#pragma unroll 1
  for (int round = 0; round < 10; round++) {
    const uint64_t first = static_cast<uint64_t>(0xD2511F53u) * c.x;
    const uint64_t second = static_cast<uint64_t>(0xCD9E8D57u) * c.z;
    c = make_uint4(static_cast<uint32_t>(second >> 32) ^ c.y ^ key0, static_cast<uint32_t>(second),
                   static_cast<uint32_t>(first >> 32) ^ c.w ^ key1, static_cast<uint32_t>(first));
    key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
  }
  return c;
}

/// Standard Gumbel noise of a word: -log(-log(1 - u)), u = (word + 1/2) / 2^32 below 1.
TM_DEVICE float gumbel(uint32_t word) {
  float u = (static_cast<float>(word) + 0.5f) * 2.3283064365386963e-10f;
  u = u < 1.0f - 5.9604644775390625e-8f ? u : 1.0f - 5.9604644775390625e-8f;
  return -exact_log(-exact_log1p(-u));
}

}  // namespace treadle::mega
