// Rows of activations as the dot kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace treadle::cpu {

// One row quantised to int8 in blocks of 32: x ~ scale * q, |q| <= 127. A block is a record of one
// cache line, so that a kernel needs one address a row: q int8 [32] | scale f32 | scale * sum f32 |
// -8 * sum i32 | -128 * sum i32 | -32 * the sums of 16 i32 [2] | 8 B. The last four take the offset
// of stored weights out of a product. Columns are padded with zeros to a multiple of 64, so that
// whole groups of every kind can be read.
struct QuantRow {
  static constexpr size_t record = 64;
  static constexpr size_t scale = 32, scaled_sum = 36, less8 = 40, less128 = 44, less32 = 48;

  size_t blocks;

  static constexpr QuantRow of(size_t columns) { return {(columns + 63) / 64 * 2}; }
  constexpr size_t bytes() const { return blocks * record; }
};

// `rows` rows, `stride` bytes apart: QuantRows for the integer kinds, plain f32 for the others.
struct Activations {
  const uint8_t* data;
  size_t stride;
  size_t rows;
};

}  // namespace treadle::cpu
