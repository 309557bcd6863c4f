// Rows of activations as the dot kernels read them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace treadle::cpu {

// One row quantised to int8 in blocks of 32: x ~ scale * q, |q| <= 127. Planes, one after another:
// q int8 [padded] | scale f32 [blocks] | scale * sum f32 [blocks] | sum of 32 i32 [blocks] |
// sum of 16 i32 [2 * blocks]. Columns are padded with zeros to a multiple of 64, so that whole
// groups of every kind can be read.
struct QuantRow {
  size_t blocks;

  static constexpr QuantRow of(size_t columns) { return {(columns + 63) / 64 * 2}; }
  constexpr size_t scale() const { return blocks * 32; }
  constexpr size_t scaled_sum() const { return blocks * 36; }
  constexpr size_t sum32() const { return blocks * 40; }
  constexpr size_t sum16() const { return blocks * 44; }
  constexpr size_t bytes() const { return (blocks * 52 + 63) / 64 * 64; }
};

// `rows` rows, `stride` bytes apart: QuantRows for the integer kinds, plain f32 for the others.
struct Activations {
  const uint8_t* data;
  size_t stride;
  size_t rows;
};

}  // namespace treadle::cpu
