// Packed strips times quantised activations, as a template over the lanes of an instruction set.
// A row is one lane from the first column to the last: y = sum over units of 32 (16 for q6_k)
// columns, in order, of fma(isum * x.scale, d, y) and, for kinds with a minimum,
// fma(m, x.scale * x.sum, y), where isum is an exact integer. GEMV is the GEMM tile of one row.
#pragma once

#include "cpu/activations.h"
#include "cpu/pack.h"

namespace treadle::cpu {
namespace {

// A tile: T rows of activations `stride` bytes apart.
template <class L, int T>
struct QuantTile {
  const uint8_t* data;
  size_t stride;
  typename L::F sum[T];

  const uint8_t* record(int t, size_t block) const {
    return data + static_cast<size_t>(t) * stride + block * QuantRow::record;
  }
};

template <class T>
static T value_at(const uint8_t* from) {
  T out;
  __builtin_memcpy(&out, from, sizeof(T));
  return out;
}

// Adds one unit of 4 * N columns beginning at block `block` (and, for N = 4, half `half` of it):
// weights of `Bits` bits minus Offset, times d; plus m where Affine.
//
// The rows go through in phases, not one after the other: a row alone is a chain of some 40 cycles
// (products, 16-bit sums, widening, scale, two fused adds), and a window of 97 waiting operations
// holds three such rows. Counted for a block of 32 of 4 bits on AVX-512 without VNNI, 512 products:
// 8 vpmaddubsw + 7 vpaddw + 1 vpmaddwd + 4 of floats + 1/8 of 16 to unpack = 22 operations for two
// ports, so 110 G products a second at 2.37 GHz; 8 bits as two nibbles take 37 + 3 (61 G). In the
// cache this gives 105 and 57; row after row, 82 and 52. Pre-widened s16 activations (vpmaddwd +
// vpaddd) would take 35 a block at any width, which is no gain at 4 bits and 7 % at 8.
template <class L, int Bits, int N, int OffsetLog2, bool Affine, int T>
static inline __attribute__((always_inline)) void add_unit(const typename L::B (&w)[N],
                                                           typename L::F d, typename L::F m,
                                                           size_t block, size_t half,
                                                           QuantTile<L, T>& tile) {
  const auto ready = L::template ready<Bits, N>(w);
  constexpr int most = Bits == 8 ? L::kTile / 2 : L::kTile;  // 8 bits hold twice the registers
  constexpr int phase = T < most ? T : most > 0 ? most : 1;
#pragma GCC unroll 8
  for (int first = 0; first < T; first += phase) {
    typename L::I sum[phase];
    typename L::F scaled[phase];
#pragma GCC unroll 8
    for (int t = 0; t < phase; ++t) {
      sum[t] = L::template dot<Bits, N>(ready, tile.record(first + t, block) + half * 16);
    }
#pragma GCC unroll 8
    for (int t = 0; t < phase; ++t) {
      const uint8_t* x = tile.record(first + t, block);
      if constexpr (OffsetLog2 >= 0) {
        constexpr size_t at = N == 4            ? QuantRow::less32
                              : OffsetLog2 <= 4 ? QuantRow::less8
                                                : QuantRow::less128;
        constexpr int32_t times = OffsetLog2 == 4 ? 2 : 1;
        sum[t] = L::add_i(sum[t], L::set_i(times * value_at<int32_t>(x + at + half * 4)));
      }
      scaled[t] = L::mul(L::from_int(sum[t]), L::set(value_at<float>(x + QuantRow::scale)));
    }
#pragma GCC unroll 8
    for (int t = 0; t < phase; ++t) {
      typename L::F& y = tile.sum[first + t];
      y = L::fma(scaled[t], d, y);
      if constexpr (Affine) {
        const uint8_t* x = tile.record(first + t, block);
        y = L::fma(m, L::set(value_at<float>(x + QuantRow::scaled_sum)), y);
      }
    }
  }
}

template <class L>
static inline __attribute__((always_inline)) typename L::F half_at(const uint8_t* plane) {
  return L::half(reinterpret_cast<const uint16_t*>(plane));
}

// q4_0, q4_1, q5_0, q5_1, q8_0: two blocks of 32.
template <class L, Kind K, int T>
static inline __attribute__((always_inline)) void small_group(const uint8_t* group, size_t block,
                                                              QuantTile<L, T>& tile) {
  constexpr SmallPlanes planes = small_planes(K);
#pragma GCC unroll 2
  for (size_t half = 0; half < 2; ++half) {
    const uint8_t* q = group + half * planes.quants;
    const typename L::F d = half_at<L>(group + planes.factors_at(half));
    typename L::B w[8];
    if constexpr (K == Kind::q8_0) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) w[i] = L::line(q + i * kLine);
      add_unit<L, 8, 8, 7, false, T>(w, d, d, block + half, 0, tile);
    } else {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const typename L::B both = L::line(q + i * kLine);
        w[i] = L::low(both);
        w[i + 4] = L::high(both);
      }
      constexpr int bits = planes.fifths ? 5 : 4;
      if constexpr (bits == 5) {
        const typename L::B fifths = L::line(group + planes.fifths_at(half));
        w[0] = L::template join<4, 16>(w[0], fifths);
        w[1] = L::template join<3, 16>(w[1], fifths);
        w[2] = L::template join<2, 16>(w[2], fifths);
        w[3] = L::template join<1, 16>(w[3], fifths);
        w[4] = L::template join<0, 16>(w[4], fifths);
        w[5] = L::template join<-1, 16>(w[5], fifths);
        w[6] = L::template join<-2, 16>(w[6], fifths);
        w[7] = L::template join<-3, 16>(w[7], fifths);
      }
      if constexpr (planes.minimum) {
        const typename L::F m = half_at<L>(group + planes.factors_at(half) + 32);
        add_unit<L, bits, 8, -1, true, T>(w, d, m, block + half, 0, tile);
      } else {
        add_unit<L, bits, 8, bits - 1, false, T>(w, d, d, block + half, 0, tile);
      }
    }
  }
}

// q4_k, q5_k: eight sub-blocks of 32; d * scale and dmin * min are exact in f32.
template <class L, Kind K, int Sub, int T>
static inline __attribute__((always_inline)) void affine_sub(const uint8_t* group, size_t block,
                                                             QuantTile<L, T>& tile) {
  constexpr int bits = K == Kind::q5_k ? 5 : 4;
  const uint8_t* scales = group + (K == Kind::q5_k ? 2560 : 2048);
  const typename L::F d =
      L::mul(half_at<L>(scales + 256), L::from_int(L::from_u8(scales + Sub * 16)));
  const typename L::F minimum =
      L::mul(half_at<L>(scales + 288), L::from_int(L::from_u8(scales + 128 + Sub * 16)));
  typename L::B w[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const typename L::B both = L::line(group + (Sub / 2 * 8 + i) * kLine);
    w[i] = Sub % 2 ? L::high(both) : L::low(both);
    if constexpr (K == Kind::q5_k) {
      w[i] = L::template join<4 - Sub, 16>(w[i], L::line(group + 2048 + i * kLine));
    }
  }
  add_unit<L, bits, 8, -1, true, T>(w, d, L::sub(L::set(0.0f), minimum), block + Sub, 0, tile);
}

// q6_k: a quarter is 32 columns in two sub-blocks of 16, each with its own signed scale.
template <class L, int Half, int Plane, int T>
static inline __attribute__((always_inline)) void six_bit_sub(const uint8_t* group, size_t block,
                                                              QuantTile<L, T>& tile) {
  const typename L::F factor = half_at<L>(group + 3328);
#pragma GCC unroll 2
  for (int part = 0; part < 2; ++part) {
    typename L::B w[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int at = part * 4 + i;
      const typename L::B both = L::line(group + (Half * 16 + Plane % 2 * 8 + at) * kLine);
      w[i] = L::template join<4 - 2 * Plane, 48>(
          Plane / 2 ? L::high(both) : L::low(both),
          L::line(group + 2048 + static_cast<size_t>(Half * 8 + at) * kLine));
    }
    constexpr int sub = Half * 4 + Plane;
    const typename L::F d =
        L::mul(factor, L::from_int(L::from_s8(group + 3072 + (sub * 2 + part) * 16)));
    add_unit<L, 6, 4, 5, false, T>(w, d, d, block + sub, static_cast<size_t>(part), tile);
  }
}

template <class L, Kind K, int T>
static inline __attribute__((always_inline)) void add_group(const uint8_t* group, size_t g,
                                                            QuantTile<L, T>& tile) {
  if constexpr (K == Kind::q6_k) {
    six_bit_sub<L, 0, 0, T>(group, g * 8, tile);
    six_bit_sub<L, 0, 1, T>(group, g * 8, tile);
    six_bit_sub<L, 0, 2, T>(group, g * 8, tile);
    six_bit_sub<L, 0, 3, T>(group, g * 8, tile);
    six_bit_sub<L, 1, 0, T>(group, g * 8, tile);
    six_bit_sub<L, 1, 1, T>(group, g * 8, tile);
    six_bit_sub<L, 1, 2, T>(group, g * 8, tile);
    six_bit_sub<L, 1, 3, T>(group, g * 8, tile);
  } else if constexpr (K == Kind::q4_k || K == Kind::q5_k) {
    affine_sub<L, K, 0, T>(group, g * 8, tile);
    affine_sub<L, K, 1, T>(group, g * 8, tile);
    affine_sub<L, K, 2, T>(group, g * 8, tile);
    affine_sub<L, K, 3, T>(group, g * 8, tile);
    affine_sub<L, K, 4, T>(group, g * 8, tile);
    affine_sub<L, K, 5, T>(group, g * 8, tile);
    affine_sub<L, K, 6, T>(group, g * 8, tile);
    affine_sub<L, K, 7, T>(group, g * 8, tile);
  } else {
    small_group<L, K, T>(group, g * 2, tile);
  }
}

// The float kinds: columns alternate between two sums, added at the end.
template <class L, Kind K, int T>
static inline __attribute__((always_inline)) void float_strip(const uint8_t* strip, size_t columns,
                                                              const uint8_t* x, size_t stride,
                                                              typename L::F (&out)[T]) {
  constexpr size_t width = K == Kind::f32 ? 64 : 32;  // bytes of a column of 16 rows
  typename L::F odd[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) odd[t] = out[t] = L::set(0.0f);
  const auto column = [&](size_t k) {
    const uint8_t* p = strip + k * width;
    if constexpr (K == Kind::f32)
      return L::load(reinterpret_cast<const float*>(p));
    else if constexpr (K == Kind::f16)
      return L::half(reinterpret_cast<const uint16_t*>(p));
    else
      return L::brain(reinterpret_cast<const uint16_t*>(p));
  };
  for (size_t k = 0; k < columns; k += 2) {
    const typename L::F w = column(k);
    if (T <= 2) L::prefetch(strip + k * width + 4096);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      out[t] =
          L::fma(w, L::set(value_at<float>(x + static_cast<size_t>(t) * stride + k * 4)), out[t]);
    }
    if (k + 1 == columns) break;
    const typename L::F v = column(k + 1);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      odd[t] = L::fma(v, L::set(value_at<float>(x + static_cast<size_t>(t) * stride + k * 4 + 4)),
                      odd[t]);
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) out[t] = L::add(out[t], odd[t]);
}

// One strip times T rows of activations.
template <class L, Kind K, int T>
static void strip_tile(const Shape& shape, const uint8_t* strip, const uint8_t* x, size_t stride,
                       typename L::F (&out)[T]) {
  if constexpr (K == Kind::f32 || K == Kind::f16 || K == Kind::bf16) {
    float_strip<L, K, T>(strip, shape.columns, x, stride, out);
  } else {
    constexpr size_t bytes = K == Kind::q4_k   ? 2368
                             : K == Kind::q5_k ? 2880
                             : K == Kind::q6_k ? 3392
                                               : small_planes(K).bytes();
    QuantTile<L, T> tile{x, stride, {}};
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) tile.sum[t] = L::set(0.0f);
    for (size_t g = 0; g < shape.groups; ++g) {
      const uint8_t* group = strip + g * bytes;
      // Ahead of the hardware, which stops at page ends; strips are one run. A single row takes
      // lines as fast as they come, so they go to where it reads. A tile leaves time between them:
      // lines that wait long in the first level's few miss buffers would hold up the activations,
      // so they go to the second level.
      constexpr size_t ahead = T == 1 ? 4096 : 8192;
      for (size_t i = 0; i < bytes; i += kLine) {
        if constexpr (T == 1) {
          L::prefetch(group + ahead + i);
        } else {
          L::prefetch_far(group + ahead + i);
        }
      }
      add_group<L, K, T>(group, g, tile);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) out[t] = tile.sum[t];
  }
}

template <class L, Kind K, int T>
static void tile_out(const Shape& shape, const uint8_t* strip, size_t rows, const Activations& x,
                     size_t token, float* y, size_t stride) {
  typename L::F out[T];
  strip_tile<L, K, T>(shape, strip, x.data + token * x.stride, x.stride, out);
  for (int t = 0; t < T; ++t) {
    float* to = y + (token + static_cast<size_t>(t)) * stride;
    if (rows == kStripRows) {
      L::store(to, out[t]);
    } else {
      float lanes[kStripRows];
      L::store(lanes, out[t]);
      for (size_t i = 0; i < rows; ++i) to[i] = lanes[i];
    }
  }
}

// Strips outside, tiles of rows inside: a strip is read from memory once.
template <class L, Kind K>
static void matmul(const Shape& shape, const uint8_t* packed, size_t first, size_t count,
                   const Activations& x, float* y, size_t stride) {
  for (size_t s = first; s < first + count; ++s) {
    const uint8_t* strip = packed + s * shape.strip_bytes;
    const size_t left = shape.rows - s * kStripRows;
    const size_t rows = left < kStripRows ? left : kStripRows;
    float* to = y + s * kStripRows;
    size_t t = 0;
    for (; t + L::kTile <= x.rows; t += L::kTile) {
      tile_out<L, K, L::kTile>(shape, strip, rows, x, t, to, stride);
    }
    if constexpr (L::kTile > 4) {
      for (; t + 4 <= x.rows; t += 4) tile_out<L, K, 4>(shape, strip, rows, x, t, to, stride);
    }
    if constexpr (L::kTile > 2) {
      for (; t + 2 <= x.rows; t += 2) tile_out<L, K, 2>(shape, strip, rows, x, t, to, stride);
    }
    for (; t < x.rows; ++t) tile_out<L, K, 1>(shape, strip, rows, x, t, to, stride);
  }
}

template <class L>
static uint64_t read_bytes(const uint8_t* data, size_t bytes) {
  typename L::B seen[4];
  for (auto& line : seen) __builtin_memset(&line, 0, sizeof line);
  for (size_t i = 0; i + 4 * kLine <= bytes; i += 4 * kLine) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) {
      L::prefetch(data + i + 4096 + j * kLine);
      seen[j] = L::template join<0, 255>(seen[j], L::line(data + i + j * kLine));
    }
  }
  uint64_t out = 0;
  for (const auto& line : seen) out |= value_at<uint64_t>(reinterpret_cast<const uint8_t*>(&line));
  return out;
}

}  // namespace
}  // namespace treadle::cpu
