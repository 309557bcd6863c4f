// q4_k, q5_k and q6_k times int8 rows in WebAssembly: the sums of dot_body.h in the same order,
// written as loops, for the download counts more than the last cycle.
#pragma once

#include "cpu/small_simd128.h"

namespace treadle::cpu {
namespace {

// Adds `lines` lines of four columns each; `weights` gives line i of row group r as bytes below 64.
template <class Weights>
[[gnu::always_inline]] inline void sum_lines(size_t lines, const uint8_t* x, v128_t (&sum)[4],
                                             Weights weights) {
#pragma clang loop unroll(disable)
  for (size_t i = 0; i < lines; ++i) {
    const Simd128Lanes::Quad four(x + 4 * i);
#pragma GCC unroll 4
    for (size_t r = 0; r < 4; ++r) add_bytes(weights(i, r), four, sum[r]);
  }
}

[[gnu::always_inline]] inline v128_t bits_of(const uint8_t* line, size_t by, uint8_t mask) {
  return wasm_v128_and(wasm_u16x8_shr(wasm_v128_load(line), static_cast<uint32_t>(by)),
                       wasm_u8x16_splat(mask));
}

[[gnu::always_inline]] inline Simd128Lanes::F factor_at(const uint8_t* x) {
  const v128_t all = wasm_v128_load32_splat(x);
  return {{all, all, all, all}};
}

// Columns 32 sub .. of a group: y += (d scale) (w x) - (dmin min) sum(x), each times x's scale.
template <Kind K>
[[gnu::always_inline]] inline void affine_block(const uint8_t* group, size_t sub,
                                                const uint8_t* row, Simd128Lanes::F& y) {
  using L = Simd128Lanes;
  const uint8_t* factors = group + (K == Kind::q5_k ? 2560 : 2048);
  v128_t sum[4] = {};
  sum_lines(8, row, sum, [&](size_t i, size_t r) {
    const v128_t w = bits_of(group + (sub / 2 * 8 + i) * kLine + 16 * r, sub % 2 * 4, 15);
    if constexpr (K == Kind::q4_k) return w;
    const v128_t top = bits_of(group + 2048 + i * kLine + 16 * r, sub, 1);
    return wasm_v128_or(w, wasm_i16x8_shl(top, 4));
  });
  const L::F x = factor_at(row + QuantRow::scale), x_sum = factor_at(row + QuantRow::scaled_sum);
  const auto times = [&](size_t plane, size_t by) {
    const auto* halves = reinterpret_cast<const uint16_t*>(factors + plane);
    return L::mul(L::half(halves), L::from_int(L::from_u8(factors + by + sub * 16)));
  };
  y = L::fma(L::mul(L::from_int({{sum[0], sum[1], sum[2], sum[3]}}), x), times(256, 0), y);
  y = L::fma(L::sub(L::set(0.0f), times(288, 128)), x_sum, y);
}

// The same of q6_k: two runs of 16 columns, each with a signed scale; weights are stored + 32.
[[gnu::always_inline]] inline void six_bit_block(const uint8_t* group, size_t sub,
                                                 const uint8_t* row, Simd128Lanes::F& y) {
  using L = Simd128Lanes;
  const size_t half = sub / 4, plane = sub % 4;
  const uint8_t* low = group + (half * 16 + plane % 2 * 8) * kLine;
  const uint8_t* high = group + 2048 + half * 8 * kLine;
  const L::F x = factor_at(row + QuantRow::scale);
  const L::F factor = L::half(reinterpret_cast<const uint16_t*>(group + 3328));
  for (size_t part = 0; part < 2; ++part) {
    v128_t sum[4];
    for (v128_t& s : sum) s = wasm_v128_load32_splat(row + QuantRow::less32 + 4 * part);
    sum_lines(4, row + part * 16, sum, [&](size_t i, size_t r) {
      const size_t line = (part * 4 + i) * kLine + 16 * r;
      const v128_t top = bits_of(high + line, 2 * plane, 3);
      return wasm_v128_or(bits_of(low + line, plane / 2 * 4, 15), wasm_i16x8_shl(top, 4));
    });
    const L::F d = L::mul(factor, L::from_int(L::from_s8(group + 3072 + (sub * 2 + part) * 16)));
    y = L::fma(L::mul(L::from_int({{sum[0], sum[1], sum[2], sum[3]}}), x), d, y);
  }
}

// A MatmulFn.
template <Kind K>
void large_matmul(const Shape& shape, const uint8_t* packed, size_t first, size_t count,
                  const Activations& x, float* y, size_t stride) {
  const size_t group_bytes = shape.strip_bytes / shape.groups;
  for (size_t s = first; s < first + count; ++s) {
    const uint8_t* strip = packed + s * shape.strip_bytes;
    for (size_t t = 0; t < x.rows; ++t) {
      const uint8_t* row = x.data + t * x.stride;
      Simd128Lanes::F sum = Simd128Lanes::set(0.0f);
#pragma clang loop unroll(disable)
      for (size_t block = 0; block < 8 * shape.groups; ++block, row += QuantRow::record) {
        const uint8_t* group = strip + block / 8 * group_bytes;
        if constexpr (K == Kind::q6_k) {
          six_bit_block(group, block % 8, row, sum);
        } else {
          affine_block<K>(group, block % 8, row, sum);
        }
      }
      put_rows(sum, shape.rows - s * kStripRows, y + t * stride + s * kStripRows);
    }
  }
}

constexpr Kernels with_large(Kernels kernels) {
  kernels.matmul[static_cast<size_t>(Kind::q4_k)] = &large_matmul<Kind::q4_k>;
  kernels.matmul[static_cast<size_t>(Kind::q5_k)] = &large_matmul<Kind::q5_k>;
  kernels.matmul[static_cast<size_t>(Kind::q6_k)] = &large_matmul<Kind::q6_k>;
  return kernels;
}

}  // namespace
}  // namespace treadle::cpu
