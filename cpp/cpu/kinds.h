// Weight formats the CPU kernels read: how a row lies in a model file and how a strip of 16 rows
// lies once packed. Formats follow the ggml block structs (facts only); `python/treadle/models/
// quant.py` is the oracle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "support/result.h"

namespace treadle::cpu {

enum class Kind : uint8_t { f32, f16, bf16, q4_0, q4_1, q8_0, q4_k, q5_k, q6_k };

inline constexpr size_t kKinds = 9;
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

// The kind by its name in a model file ("q4_1"); unsupported if the kernels do not read it.
Result<Kind> kind_of(std::string_view name);

}  // namespace treadle::cpu
