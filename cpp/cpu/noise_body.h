// Words of Philox4x32-10 in plain loops, compiled for each instruction set. Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once

#include "cpu/kernels.h"

namespace treadle::cpu {
namespace {

// L only keeps each file's copy to itself.
template <class L>
static void noise(uint64_t key, uint32_t step, uint32_t block, uint32_t* words) {
  uint32_t c[4][kNoiseBlocks];
  for (size_t b = 0; b < kNoiseBlocks; ++b) {
    c[0][b] = step, c[1][b] = block + static_cast<uint32_t>(b), c[2][b] = c[3][b] = 0;
  }
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (size_t b = 0; b < kNoiseBlocks; ++b) {
      const uint64_t first = uint64_t{0xD2511F53} * c[0][b];
      const uint64_t second = uint64_t{0xCD9E8D57} * c[2][b];
      c[0][b] = static_cast<uint32_t>(second >> 32) ^ c[1][b] ^ k0;
      c[2][b] = static_cast<uint32_t>(first >> 32) ^ c[3][b] ^ k1;
      c[1][b] = static_cast<uint32_t>(second);
      c[3][b] = static_cast<uint32_t>(first);
    }
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  __builtin_memcpy(words, c, sizeof c);
}

}  // namespace
}  // namespace treadle::cpu
