// Sixteen lanes in four 128-bit registers of WebAssembly. Meanings: lanes_scalar.h, but for fma:
// there is no fused instruction, so products are rounded on their own and bits differ from those
// of the native sets. The same with relaxed SIMD, whose fma is fused on some machines only.
#pragma once

#include <wasm_simd128.h>

#include <cstddef>
#include <cstdint>

#include "cpu/half.h"

namespace treadle::cpu {
namespace {

struct Simd128Lanes {
  static constexpr int kTile = 1;

  struct F {
    v128_t v[4];
  };
  struct I {
    v128_t v[4];
  };
  using B = I;

  template <class Out = F, class Fn>
  [[gnu::always_inline]] static Out map(Fn fn) {
    return {{fn(0), fn(1), fn(2), fn(3)}};
  }

  static F load(const float* p) {
    return map([&](int i) { return wasm_v128_load(p + 4 * i); });
  }
  static void store(float* p, F x) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) wasm_v128_store(p + 4 * i, x.v[i]);
  }
  static F set(float x) {
    return map([&](int) { return wasm_f32x4_splat(x); });
  }
  static F half(const uint16_t* p) {
    return map([&](int i) {
      const v128_t bits = wasm_u32x4_load16x4(p + 4 * i);
      const v128_t magnitude = wasm_v128_and(bits, wasm_i32x4_const_splat(0x7FFF));
      const v128_t sign = wasm_i32x4_shl(wasm_v128_and(bits, wasm_i32x4_const_splat(0x8000)), 16);
      const v128_t scaled =
          wasm_f32x4_mul(wasm_i32x4_shl(magnitude, 13), wasm_f32x4_const_splat(0x1p112f));
      const v128_t endless = wasm_v128_and(wasm_i32x4_gt(magnitude, wasm_i32x4_const_splat(0x7BFF)),
                                           wasm_i32x4_const_splat(0x7F800000));
      return wasm_v128_or(wasm_v128_or(scaled, endless), sign);
    });
  }
  static F brain(const uint16_t* p) {
    return map([&](int i) { return wasm_i32x4_shl(wasm_u32x4_load16x4(p + 4 * i), 16); });
  }
  static void store_half(uint16_t* p, F x) {
    float lanes[16];
    store(lanes, x);
    for (int i = 0; i < 16; ++i) p[i] = narrow_half(lanes[i]);
  }
  static F add(F x, F y) {
    return map([&](int i) { return wasm_f32x4_add(x.v[i], y.v[i]); });
  }
  static F sub(F x, F y) {
    return map([&](int i) { return wasm_f32x4_sub(x.v[i], y.v[i]); });
  }
  static F mul(F x, F y) {
    return map([&](int i) { return wasm_f32x4_mul(x.v[i], y.v[i]); });
  }
  static F div(F x, F y) {
    return map([&](int i) { return wasm_f32x4_div(x.v[i], y.v[i]); });
  }
  static F fma(F x, F y, F z) {  // rounded twice
    return map([&](int i) { return wasm_f32x4_add(wasm_f32x4_mul(x.v[i], y.v[i]), z.v[i]); });
  }
  static F min(F x, F y) {
    return map([&](int i) { return wasm_f32x4_pmin(y.v[i], x.v[i]); });
  }
  static F max(F x, F y) {
    return map([&](int i) { return wasm_f32x4_pmax(y.v[i], x.v[i]); });
  }
  static F keep_unless_less(F x, F y, F z) {
    return map([&](int i) { return wasm_v128_andnot(z.v[i], wasm_f32x4_lt(x.v[i], y.v[i])); });
  }

  static I set_i(int32_t x) {
    return map<I>([&](int) { return wasm_i32x4_splat(x); });
  }
  static I bits(F x) { return {{x.v[0], x.v[1], x.v[2], x.v[3]}}; }
  static F floats(I x) { return {{x.v[0], x.v[1], x.v[2], x.v[3]}}; }
  static I add_i(I x, I y) {
    return map<I>([&](int i) { return wasm_i32x4_add(x.v[i], y.v[i]); });
  }
  static I sub_i(I x, I y) {
    return map<I>([&](int i) { return wasm_i32x4_sub(x.v[i], y.v[i]); });
  }
  static I and_i(I x, I y) {
    return map<I>([&](int i) { return wasm_v128_and(x.v[i], y.v[i]); });
  }
  static I max_i(I x, I y) {
    return map<I>([&](int i) { return wasm_i32x4_max(x.v[i], y.v[i]); });
  }
  template <int N>
  static I shl_i(I x) {
    return map<I>([&](int i) { return wasm_i32x4_shl(x.v[i], N); });
  }
  static F from_int(I x) {
    return map([&](int i) { return wasm_f32x4_convert_i32x4(x.v[i]); });
  }
  static I from_u8(const uint8_t* p) {
    return map<I>([&](int i) {
      return wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(word(p + 4 * i)));
    });
  }
  static I from_s8(const uint8_t* p) {
    return map<I>([&](int i) {
      return wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(word(p + 4 * i)));
    });
  }
  static void store_s8(uint8_t* p, I x) {
    wasm_v128_store(p, wasm_i8x16_narrow_i16x8(wasm_i16x8_narrow_i32x4(x.v[0], x.v[1]),
                                               wasm_i16x8_narrow_i32x4(x.v[2], x.v[3])));
  }
  static void sums_i(I x, I y, int32_t out[2]) {
    out[0] = sum(x);
    out[1] = sum(y);
  }
  static int32_t most_i(I x) {
    v128_t most = wasm_i32x4_max(wasm_i32x4_max(x.v[0], x.v[1]), wasm_i32x4_max(x.v[2], x.v[3]));
    most = wasm_i32x4_max(most, wasm_i32x4_shuffle(most, most, 2, 3, 0, 1));
    most = wasm_i32x4_max(most, wasm_i32x4_shuffle(most, most, 1, 0, 3, 2));
    return wasm_i32x4_extract_lane(most, 0);
  }

  static B line(const uint8_t* p) {
    return map<I>([&](int i) { return wasm_v128_load(p + 16 * i); });
  }
  static B low(B x) {
    return map<I>([&](int i) { return wasm_v128_and(x.v[i], wasm_i8x16_const_splat(15)); });
  }
  static B high(B x) {
    return map<I>([&](int i) { return wasm_u8x16_shr(x.v[i], 4); });
  }
  template <int Shift, int Mask>
  static B join(B x, B y) {
    return map<I>([&](int i) {
      const v128_t moved = Shift >= 0 ? wasm_i8x16_shl(y.v[i], static_cast<uint32_t>(Shift))
                                      : wasm_u8x16_shr(y.v[i], static_cast<uint32_t>(-Shift));
      const v128_t mask = wasm_i8x16_splat(static_cast<int8_t>(Mask));
      return wasm_v128_or(x.v[i], wasm_v128_and(moved, mask));
    });
  }

  template <int Bits, int N>
  struct Ready {
    B w[N];
  };
  template <int Bits, int N>
  static Ready<Bits, N> ready(const B (&w)[N]) {
    Ready<Bits, N> out;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) out.w[i] = w[i];
    return out;
  }
  // What dot_body.h is written for; the kinds that use it have kernels of their own.
  template <int Bits, int N>
  static I dot(const Ready<Bits, N>& w, const uint8_t* x) {
    I total = set_i(0);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const Quad four(x + 4 * n);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const v128_t even = wasm_v128_and(w.w[n].v[i], wasm_i16x8_const_splat(255));
        const v128_t odd = wasm_u16x8_shr(w.w[n].v[i], 8);
        total.v[i] = wasm_i32x4_add(total.v[i], wasm_i32x4_dot_i16x8(even, four.even));
        total.v[i] = wasm_i32x4_add(total.v[i], wasm_i32x4_dot_i16x8(odd, four.odd));
      }
    }
    return total;
  }

  static void prefetch(const uint8_t*) {}
  static void prefetch_far(const uint8_t*) {}

  // Four int8 activations for every row: columns 0 and 2, and 1 and 3, as pairs of 16 bits.
  struct Quad {
    v128_t even, odd;
    explicit Quad(const uint8_t* x) {
      const v128_t all = wasm_v128_load32_splat(x);
      even = wasm_i16x8_shr(wasm_i16x8_shl(all, 8), 8);
      odd = wasm_i16x8_shr(all, 8);
    }
  };

 private:
  static v128_t word(const uint8_t* p) { return wasm_v128_load32_zero(p); }
  static int32_t sum(I x) {
    const v128_t four =
        wasm_i32x4_add(wasm_i32x4_add(x.v[0], x.v[1]), wasm_i32x4_add(x.v[2], x.v[3]));
    const v128_t two = wasm_i32x4_add(four, wasm_i32x4_shuffle(four, four, 2, 3, 0, 1));
    return wasm_i32x4_extract_lane(two, 0) + wasm_i32x4_extract_lane(two, 1);
  }
};

}  // namespace
}  // namespace treadle::cpu
