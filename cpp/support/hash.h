// Structural hashes: the same on every platform, never from a pointer or a size_t.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace treadle {

// One round of a multiply-and-fold mix; order matters: mix(a, b) != mix(b, a).
constexpr uint64_t mix(uint64_t seed, uint64_t value) {
  uint64_t h = (seed ^ (value + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2)));
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93ULL;
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93ULL;
  h ^= h >> 32;
  return h;
}

constexpr uint64_t hash_bytes(std::string_view bytes, uint64_t seed = 0) {
  uint64_t h = mix(seed, bytes.size());
  uint64_t word = 0;
  unsigned filled = 0;
  for (char c : bytes) {
    word = word << 8 | static_cast<uint8_t>(c);
    if (++filled == 8) {
      h = mix(h, word);
      word = 0;
      filled = 0;
    }
  }
  return filled ? mix(h, word) : h;
}

}  // namespace treadle
