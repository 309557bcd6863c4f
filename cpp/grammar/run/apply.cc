#include "grammar/run/apply.h"

#include <algorithm>
#include <string>

namespace treadle {

namespace {

// Logits are moved as bits: minus infinity is one pattern and no arithmetic is needed, so half
// precision costs no conversion.
constexpr uint32_t kMinusInfinity32 = 0xff800000u;
constexpr uint16_t kMinusInfinityHalf = 0xfc00u;
constexpr uint16_t kMinusInfinityBrain = 0xff80u;

// One row. Words of a mask are mostly all zeros or all ones, so those two go without the bits; the
// loop over 32 bits has a fixed length and vectorises with whatever the caller's target offers.
template <class Bits>
[[gnu::always_inline]] inline void mask_row(Bits* row, int64_t width, const uint32_t* words,
                                            Bits none) {
  const int64_t whole = width / 32;
  for (int64_t i = 0; i < whole; ++i) {
    const uint32_t word = words[i];
    Bits* out = row + i * 32;
    if (word == UINT32_MAX) continue;
    if (word == 0) {
      for (int j = 0; j < 32; ++j) out[j] = none;
      continue;
    }
    for (int j = 0; j < 32; ++j) {
      const Bits keep = static_cast<Bits>(0u - ((word >> j) & 1u));
      out[j] = static_cast<Bits>((out[j] & keep) | (none & static_cast<Bits>(~keep)));
    }
  }
  for (int64_t at = whole * 32; at < width; ++at) {
    if (!(words[at / 32] >> (at % 32) & 1u)) row[at] = none;
  }
}

// The same code for three instruction sets; the best that the processor has is chosen once.
// Function clones by the compiler would do it too, but their resolvers run before a sanitizer is
// ready.
template <class Bits>
using MaskRow = void (*)(Bits*, int64_t, const uint32_t*, Bits);

template <class Bits>
void row_plain(Bits* row, int64_t width, const uint32_t* words, Bits none) {
  mask_row(row, width, words, none);
}

#if defined(__x86_64__)
template <class Bits>
[[gnu::target("avx2")]] void row_avx2(Bits* row, int64_t width, const uint32_t* words, Bits none) {
  mask_row(row, width, words, none);
}

template <class Bits>
[[gnu::target("avx512f,avx512bw,avx512vl")]] void row_avx512(Bits* row, int64_t width,
                                                             const uint32_t* words, Bits none) {
  mask_row(row, width, words, none);
}
#endif

template <class Bits>
MaskRow<Bits> fastest() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return row_avx512<Bits>;
  }
  if (__builtin_cpu_supports("avx2")) return row_avx2<Bits>;
#endif
  return row_plain<Bits>;
}

template <class Bits>
void mask_one(const LogitRows& logits, int64_t row, std::span<const uint32_t> words, Bits none,
              Beyond beyond) {
  static const MaskRow<Bits> run = fastest<Bits>();
  Bits* data = static_cast<Bits*>(logits.data) + row * logits.stride;
  const int64_t covered = std::min(logits.width, static_cast<int64_t>(words.size()) * 32);
  run(data, covered, words.data(), none);
  if (beyond == Beyond::masked) std::fill(data + covered, data + logits.width, none);
}

void mask_any(const LogitRows& logits, int64_t row, std::span<const uint32_t> words,
              Beyond beyond) {
  switch (logits.type) {
    case LogitType::f32:
      return mask_one<uint32_t>(logits, row, words, kMinusInfinity32, beyond);
    case LogitType::f16:
      return mask_one<uint16_t>(logits, row, words, kMinusInfinityHalf, beyond);
    case LogitType::bf16:
      return mask_one<uint16_t>(logits, row, words, kMinusInfinityBrain, beyond);
  }
}

Status check(int64_t row, int64_t rows, const char* at) {
  if (row >= 0 && row < rows) return ok_status();
  return invalid_request(
      at, "row " + std::to_string(row) + " of " + std::to_string(rows) + " does not exist");
}

}  // namespace

Status apply_masks(const LogitRows& logits, const MaskRows& masks, std::span<const int64_t> index,
                   Beyond beyond) {
  for (int64_t row : index) {
    if (Status status = check(row, logits.rows, "logits"); !status.ok()) return status;
    if (Status status = check(row, masks.rows, "masks"); !status.ok()) return status;
  }
  for (int64_t row : index) mask_any(logits, row, masks.row(row), beyond);
  return ok_status();
}

Status apply_mask_ids(const LogitRows& logits, const MaskRows& table, std::span<const int32_t> ids,
                      const MaskRows& staging, std::span<const int64_t> index, Beyond beyond) {
  if (index.size() != ids.size()) {
    return invalid_request("index", "has " + std::to_string(index.size()) + " rows, ids has " +
                                        std::to_string(ids.size()) + "; give one a mask id");
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    Status status = check(index[i], logits.rows, "logits");
    const bool staged = ids[i] == kStagedMask;
    if (status.ok() && staged) status = check(static_cast<int64_t>(i), staging.rows, "staging");
    if (status.ok() && !staged && ids[i] != kNoMask) status = check(ids[i], table.rows, "table");
    if (!status.ok()) return status;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] == kNoMask) continue;
    const bool staged = ids[i] == kStagedMask;
    mask_any(logits, index[i], staged ? staging.row(static_cast<int64_t>(i)) : table.row(ids[i]),
             beyond);
  }
  return ok_status();
}

}  // namespace treadle
