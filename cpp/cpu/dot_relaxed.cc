// The kernels for relaxed SIMD: products of bytes where the weights fit 7 bits, everything else as
// in dot_simd128.cc. What the instruction does with sums that overflow is the machine's choice, so
// none may, and a page takes this build only after its self-test.
#include "cpu/kernels.h"

#if defined(__wasm_relaxed_simd__)
#include "cpu/large_simd128.h"
#include "cpu/table_body.h"
#endif

namespace treadle::cpu {

#if defined(__wasm_relaxed_simd__)
namespace {

// 8 pairs of products a lane of 16 bits: 8 * 2 * 15 * 127 < 2^15.
struct ByteDots {
  static constexpr int kTile = 2;

  v128_t sum[4];
  ByteDots() {
    for (v128_t& s : sum) s = wasm_i32x4_const_splat(0);
  }
  template <int T>
  [[gnu::always_inline]] static void nibbles(const uint8_t* line, const uint8_t* const (&x)[T],
                                             size_t at, ByteDots (&to)[T]) {
    const v128_t mask = wasm_i8x16_const_splat(15);
    v128_t low[T], high[T];
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      low[t] = wasm_v128_load32_splat(x[t] + at);
      high[t] = wasm_v128_load32_splat(x[t] + at + 16);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const v128_t w = wasm_v128_load(line + 16 * r);
      const v128_t a = wasm_v128_and(w, mask), b = wasm_v128_and(wasm_u16x8_shr(w, 4), mask);
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) {
        const v128_t p = wasm_i16x8_relaxed_dot_i8x16_i7x16(low[t], a);
        const v128_t q = wasm_i16x8_relaxed_dot_i8x16_i7x16(high[t], b);
        to[t].sum[r] = wasm_i16x8_add(to[t].sum[r], wasm_i16x8_add(p, q));
      }
    }
  }
  v128_t total(int r) const { return wasm_i32x4_extadd_pairwise_i16x8(sum[r]); }
};

}  // namespace
#endif

const Kernels* relaxed_kernels() {
#if defined(__wasm_relaxed_simd__)
  static constexpr Kernels found = with_large(with_small<ByteDots>(table<Simd128Lanes>));
  return &found;
#else
  return nullptr;
#endif
}

}  // namespace treadle::cpu
