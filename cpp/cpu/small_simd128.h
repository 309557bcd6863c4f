// q4_0, q4_1 and q8_0 times int8 rows in WebAssembly. The same sums as dot_body.h in the same
// order, but a line of weights is unpacked and used at once: sixteen registers hold no block of
// sixteen rows. `Dots` says how a line of nibbles meets its activations.
#pragma once

#include "cpu/activations.h"
#include "cpu/kernels.h"
#include "cpu/lanes_simd128.h"
#include "cpu/pack.h"

namespace treadle::cpu {
namespace {

// Nibbles as pairs of 16 bits: two products an instruction and lane.
struct WideDots {
  static constexpr int kTile = 1;  // a second row would not fit the registers

  v128_t sum[4];  // of 16 rows
  WideDots() {
    for (v128_t& s : sum) s = wasm_i32x4_const_splat(0);
  }
  // A line: 4 columns from `at` on in low nibbles, those 16 further in the high ones.
  template <int T>
  [[gnu::always_inline]] static void nibbles(const uint8_t* line, const uint8_t* const (&x)[T],
                                             size_t at, WideDots (&to)[T]) {
    const v128_t mask = wasm_i16x8_const_splat(15);
    const Simd128Lanes::Quad low(x[0] + at), high(x[0] + at + 16);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const v128_t w = wasm_v128_load(line + 16 * r);
      const v128_t p = wasm_i32x4_add(
          wasm_i32x4_dot_i16x8(wasm_v128_and(w, mask), low.even),
          wasm_i32x4_dot_i16x8(wasm_v128_and(wasm_u16x8_shr(w, 4), mask), high.even));
      const v128_t q =
          wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(wasm_u16x8_shr(w, 8), mask), low.odd),
                         wasm_i32x4_dot_i16x8(wasm_u16x8_shr(w, 12), high.odd));
      to[0].sum[r] = wasm_i32x4_add(to[0].sum[r], wasm_i32x4_add(p, q));
    }
  }
  v128_t total(int r) const { return sum[r]; }
};

// Sixteen bytes, four of each of four rows, times four activations.
[[gnu::always_inline]] inline void add_bytes(v128_t w, const Simd128Lanes::Quad& x, v128_t& to) {
  const v128_t p = wasm_i32x4_dot_i16x8(wasm_v128_and(w, wasm_i16x8_const_splat(255)), x.even);
  const v128_t q = wasm_i32x4_dot_i16x8(wasm_u16x8_shr(w, 8), x.odd);
  to = wasm_i32x4_add(to, wasm_i32x4_add(p, q));
}

// A line of 8 bits, stored + 128.
[[gnu::always_inline]] inline void bytes(const uint8_t* line, const uint8_t* x, v128_t (&to)[4]) {
  const Simd128Lanes::Quad four(x);
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) add_bytes(wasm_v128_load(line + 16 * r), four, to[r]);
}

// Four scales of a file: finite, which the exporter sees to.
[[gnu::always_inline]] inline v128_t scales(const uint8_t* p) {
  const v128_t bits = wasm_v128_and(wasm_i32x4_shl(wasm_i32x4_load16x4(p), 13),
                                    wasm_i32x4_const_splat(static_cast<int32_t>(0x8FFFE000)));
  return wasm_f32x4_mul(bits, wasm_f32x4_const_splat(0x1p112f));
}

// One strip times T rows, `stride` bytes apart.
template <class Dots, Kind K, int T>
inline void small_strip(const Shape& shape, const uint8_t* strip, const uint8_t* data,
                        size_t stride, Simd128Lanes::F (&out)[T]) {
  constexpr size_t quants = K == Kind::q8_0 ? 512 : 256;
  constexpr size_t factor = K == Kind::q4_1 ? 64 : 32;
  constexpr size_t group_bytes = 2 * quants + 2 * factor;
  const uint8_t* row[T];
#pragma GCC unroll 2
  for (int t = 0; t < T; ++t) {
    row[t] = data + static_cast<size_t>(t) * stride;
    out[t] = Simd128Lanes::set(0.0f);
  }
  for (size_t block = 0; block < 2 * shape.groups; ++block) {
    const uint8_t* group = strip + block / 2 * group_bytes;
    const uint8_t* q = group + block % 2 * quants;
    const uint8_t* d = group + 2 * quants + block % 2 * factor;
    v128_t sum[T][4];
    if constexpr (K == Kind::q8_0) {
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) {
        const v128_t offset = wasm_v128_load32_splat(row[t] + QuantRow::less128);
        for (v128_t& s : sum[t]) s = offset;
      }
#pragma clang loop unroll_count(2)
      for (size_t i = 0; i < 32; i += 4) {
#pragma GCC unroll 2
        for (int t = 0; t < T; ++t) bytes(q + 16 * i, row[t] + i, sum[t]);
      }
    } else {
      Dots dots[T];
#pragma clang loop unroll(disable)
      for (size_t i = 0; i < 16; i += 4) {
        Dots::template nibbles<T>(q + 16 * i, row, i, dots);
      }
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) {
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) {
          sum[t][r] = dots[t].total(r);
          if constexpr (K == Kind::q4_0) {
            sum[t][r] = wasm_i32x4_add(sum[t][r], wasm_v128_load32_splat(row[t] + QuantRow::less8));
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const v128_t by = scales(d + 8 * r);
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) {
        const v128_t scale = wasm_v128_load32_splat(row[t] + QuantRow::scale);
        const v128_t wide = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sum[t][r]), scale);
        out[t].v[r] = wasm_f32x4_add(wasm_f32x4_mul(wide, by), out[t].v[r]);
        if constexpr (K == Kind::q4_1) {
          const v128_t x_sum = wasm_v128_load32_splat(row[t] + QuantRow::scaled_sum);
          const v128_t low = wasm_f32x4_mul(scales(d + 32 + 8 * r), x_sum);
          out[t].v[r] = wasm_f32x4_add(low, out[t].v[r]);
        }
      }
    }
    for (const uint8_t*& x : row) x += QuantRow::record;
  }
}

// The rows of a strip, of which the last one may lack some.
inline void put_rows(const Simd128Lanes::F& sums, size_t rows, float* y) {
  float lanes[kStripRows];
  Simd128Lanes::store(lanes, sums);
  __builtin_memcpy(y, lanes, (rows < kStripRows ? rows : kStripRows) * sizeof(float));
}

template <class Dots, Kind K, int T>
inline void small_tile(const Shape& shape, const uint8_t* strip, size_t rows, const Activations& x,
                       size_t token, float* y, size_t stride) {
  Simd128Lanes::F out[T];
  small_strip<Dots, K, T>(shape, strip, x.data + token * x.stride, x.stride, out);
  for (int t = 0; t < T; ++t) put_rows(out[t], rows, y + (token + static_cast<size_t>(t)) * stride);
}

// A MatmulFn.
template <class Dots, Kind K>
void small_matmul(const Shape& shape, const uint8_t* packed, size_t first, size_t count,
                  const Activations& x, float* y, size_t stride) {
  for (size_t s = first; s < first + count; ++s) {
    const uint8_t* strip = packed + s * shape.strip_bytes;
    const size_t rows = shape.rows - s * kStripRows;
    float* to = y + s * kStripRows;
    size_t t = 0;
    constexpr int tile = K == Kind::q8_0 ? 1 : Dots::kTile;
    for (; t + tile <= x.rows; t += tile) {
      small_tile<Dots, K, tile>(shape, strip, rows, x, t, to, stride);
    }
    for (; t < x.rows; ++t) small_tile<Dots, K, 1>(shape, strip, rows, x, t, to, stride);
  }
}

template <class Dots>
constexpr Kernels with_small(Kernels kernels) {
  kernels.matmul[static_cast<size_t>(Kind::q4_0)] = &small_matmul<Dots, Kind::q4_0>;
  kernels.matmul[static_cast<size_t>(Kind::q4_1)] = &small_matmul<Dots, Kind::q4_1>;
  kernels.matmul[static_cast<size_t>(Kind::q8_0)] = &small_matmul<Dots, Kind::q8_0>;
  return kernels;
}

}  // namespace
}  // namespace treadle::cpu
