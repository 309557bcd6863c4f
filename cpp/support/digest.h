// 128-bit structural digests: equal structures have equal digests wherever they are built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "support/hash.h"

namespace treadle {

// A key that no input can choose: drawn once a process, so that nobody can prepare two structures
// with one digest.
uint64_t digest_key();
// Makes digests those of an earlier process. False when there are others here already.
bool adopt_digest_key(uint64_t key);

// Two independent 64-bit mixes. Collisions are taken as impossible: a memo holds some 10^5 keys, so
// one would need 10^28 tries. Default: unknown.
struct Digest {
  uint64_t a = 0, b = 0;

  bool operator==(const Digest&) const = default;
  auto operator<=>(const Digest&) const = default;
  bool known() const { return (a | b) != 0; }

  Digest& add(uint64_t value) {
    a = mix(a, value);
    b = mix(value ^ 0x6a09e667f3bcc909ULL, b + 0x9e3779b97f4a7c15ULL);
    return *this;
  }
  Digest& add(const Digest& other) { return add(other.a).add(other.b); }
  static Digest of(uint64_t value) {
    Digest out{digest_key(), ~digest_key()};
    return out.add(value);
  }
  Digest& add(std::string_view bytes) {
    uint64_t x = hash_bytes(bytes, digest_key());
    uint64_t y = hash_bytes(bytes, ~digest_key());
    return add(bytes.size()).add(x).add(y);
  }
  // The order of what is merged does not matter.
  Digest& merge(const Digest& other) {
    a += mix(other.a, other.b);
    b += mix(other.b, other.a);
    return *this;
  }

  struct Hash {
    size_t operator()(const Digest& d) const { return static_cast<size_t>(d.a); }
  };
};

}  // namespace treadle
