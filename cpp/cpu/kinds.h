// Weight formats the CPU kernels read: how a row lies in a model file and how a strip of 16 rows
// lies once packed. Formats follow the ggml block structs (facts only); `python/treadle/models/
// quant.py` is the oracle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "support/result.h"

namespace treadle::cpu {

enum class Kind : uint8_t { f32, f16, bf16, q4_0, q4_1, q8_0, q4_k, q5_k, q6_k, q5_0, q5_1 };

inline constexpr size_t kKinds = 11;
#if defined(__wasm__)
inline constexpr size_t kReadKinds = 9;  // a page's files hold no q5_0 and q5_1: see manifest.ts
#else
inline constexpr size_t kReadKinds = kKinds;
#endif
inline constexpr size_t kStripRows = 16;  // rows a strip: the lanes of one 512-bit vector
inline constexpr size_t kLine = 64;       // every group of a strip starts on a cache line

// In a file a row is `block_bytes` for each `block` columns; a packed strip is `group_bytes` for
// each `group` columns (16 rows together). Columns are padded to whole groups with zero weights.
struct KindInfo {
  std::string_view name;
  uint32_t block;
  uint32_t block_bytes;
  uint32_t group;
  uint32_t group_bytes;
  bool integer;  // activations are quantised to int8 for it
};

const KindInfo& kind_info(Kind kind);

// The kinds with blocks of 32, two to a group: bytes of a plane of a block. A group holds the
// quants of both blocks, then their fifth bits, then the factors of each: d and, where there is a
// minimum, m. All of them 16 rows together.
struct SmallPlanes {
  size_t quants, fifths, factors;
  bool minimum;

  constexpr size_t bytes() const { return 2 * (quants + fifths + factors); }
  constexpr size_t fifths_at(size_t half) const { return 2 * quants + half * fifths; }
  constexpr size_t factors_at(size_t half) const { return 2 * (quants + fifths) + half * factors; }
};

constexpr SmallPlanes small_planes(Kind kind) {
  const bool minimum = kind == Kind::q4_1 || kind == Kind::q5_1;
  const bool fifth = kind == Kind::q5_0 || kind == Kind::q5_1;
  return {kind == Kind::q8_0 ? size_t{512} : 256, fifth ? size_t{64} : 0, minimum ? size_t{64} : 32,
          minimum};
}

// The kind by its name in a model file ("q4_1"); unsupported if this build does not read it.
Result<Kind> kind_of(std::string_view name);

}  // namespace treadle::cpu
