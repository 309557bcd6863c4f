// Masks applied to logits on the CPU: every token whose bit is 0 gets minus infinity.
#pragma once

#include <cstdint>
#include <span>

#include "grammar/run/rows.h"
#include "support/result.h"

namespace treadle {

enum class LogitType : uint8_t { f32, f16, bf16 };

// Rows of logits: row i begins at element i * stride and has `width` adjacent elements.
struct LogitRows {
  void* data = nullptr;
  LogitType type = LogitType::f32;
  int64_t rows = 0;
  int64_t width = 0;
  int64_t stride = 0;  // in elements
};

// What becomes of the logits that lie beyond the words of a mask row.
enum class Beyond : uint8_t { masked, kept };

// Mask row r goes to logits row r, for every r of `index`. Refused before anything is written when
// a row does not exist on either side.
Status apply_masks(const LogitRows& logits, const MaskRows& masks, std::span<const int64_t> index,
                   Beyond beyond);

// Position i: table row ids[i], or as kNoMask and kStagedMask say, goes to logits row index[i].
// `index` and `ids` have one length. Refused before anything is written when a row does not exist.
Status apply_mask_ids(const LogitRows& logits, const MaskRows& table, std::span<const int32_t> ids,
                      const MaskRows& staging, std::span<const int64_t> index, Beyond beyond);

}  // namespace treadle
