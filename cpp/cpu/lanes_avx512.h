// Sixteen lanes in one 512-bit register: AVX-512 F, BW, VL, DQ; byte dots by VNNI where the file
// that includes this is compiled for it. Meanings: lanes_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace treadle::cpu {
namespace {

struct Avx512Lanes {
  static constexpr int kTile = 8;

  using F = __m512;
  using I = __m512i;
  using B = __m512i;

  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static F set(float x) { return _mm512_set1_ps(x); }
  static F half(const uint16_t* p) { return _mm512_cvtph_ps(load256(p)); }
  static F brain(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(p)), 16));
  }
  static void store_half(uint16_t* p, F a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a, nearest));
  }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F keep_unless_less(F a, F b, F x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ), x);
  }

  static I set_i(int32_t x) { return _mm512_set1_epi32(x); }
  static I bits(F a) { return _mm512_castps_si512(a); }
  static F floats(I a) { return _mm512_castsi512_ps(a); }
  static I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
  static I sub_i(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I and_i(I a, I b) { return _mm512_and_si512(a, b); }
  static I max_i(I a, I b) { return _mm512_max_epi32(a, b); }
  template <int N>
  static I shl_i(I a) {
    return _mm512_slli_epi32(a, N);
  }
  static F from_int(I a) { return _mm512_cvtepi32_ps(a); }
  static I from_u8(const uint8_t* p) { return _mm512_cvtepu8_epi32(load128(p)); }
  static I from_s8(const uint8_t* p) { return _mm512_cvtepi8_epi32(load128(p)); }
  static void store_s8(uint8_t* p, I a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a));
  }
  static void sums_i(I a, I b, int32_t out[2]) {
    const I pairs = _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
    const __m256i half =
        _mm256_add_epi32(_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64(pairs, 1));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_hadd_epi32(four, four));
  }
  static int32_t most_i(I a) { return _mm512_reduce_max_epi32(a); }

  static B line(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static B low(B a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
  static B high(B a) { return low(_mm512_srli_epi16(a, 4)); }
  template <int Shift, int Mask>
  static B join(B a, B b) {
    const B moved = Shift >= 0 ? _mm512_slli_epi16(b, Shift < 0 ? 0 : Shift)
                               : _mm512_srli_epi16(b, Shift < 0 ? -Shift : 0);
    // a | (moved & mask) in one operation.
    return _mm512_ternarylogic_epi32(a, moved, _mm512_set1_epi8(static_cast<char>(Mask)), 0xF8);
  }

#if defined(__AVX512VNNI__)
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
  template <int Bits, int N>
  static I dot(const Ready<Bits, N>& w, const uint8_t* x) {
    I even = _mm512_setzero_si512(), odd = even;
#pragma GCC unroll 8
    for (int i = 0; i < N; i += 2) {
      even = _mm512_dpbusd_epi32(even, w.w[i], four(x + 4 * i));
      odd = _mm512_dpbusd_epi32(odd, w.w[i + 1], four(x + 4 * i + 4));
    }
    return _mm512_add_epi32(even, odd);
  }
#else
  // Eight bits are taken as two nibbles: pairs of u8 x s8 would saturate 16 bits.
  template <int Bits, int N>
  struct Ready {
    B w[N];
    B top[Bits == 8 ? N : 1];
  };
  template <int Bits, int N>
  static Ready<Bits, N> ready(const B (&w)[N]) {
    Ready<Bits, N> out;
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      out.w[i] = Bits == 8 ? low(w[i]) : w[i];
      if constexpr (Bits == 8) out.top[i] = high(w[i]);
    }
    return out;
  }
  template <int Bits, int N>
  static I dot(const Ready<Bits, N>& w, const uint8_t* x) {
    if constexpr (Bits == 8) {
      return _mm512_add_epi32(part<4, N>(w.w, x, 1), part<4, N>(w.top, x, 16));
    } else {
      return part<Bits, N>(w.w, x, 1);
    }
  }
#endif

  static void prefetch(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static void prefetch_far(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }

 private:
  static constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

  static __m128i load128(const uint8_t* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static __m256i load256(const uint16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static I four(const uint8_t* x) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    return _mm512_set1_epi32(word);
  }
  // As many products as surely fit are summed in 16 bits: 2 * 127 * (2^Bits - 1) * run < 2^15.
  template <int Bits, int N>
  static I part(const B* w, const uint8_t* x, int factor) {
    constexpr int fits = Bits == 4 ? 8 : Bits == 5 ? 4 : 2;
    constexpr int run = fits < N ? fits : N;
    I total = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int i = 0; i < N; i += run) {
      I sum = _mm512_maddubs_epi16(w[i], four(x + 4 * i));
#pragma GCC unroll 8
      for (int j = 1; j < run; ++j) {
        sum = _mm512_add_epi16(sum, _mm512_maddubs_epi16(w[i + j], four(x + 4 * (i + j))));
      }
      sum = _mm512_madd_epi16(sum, _mm512_set1_epi16(static_cast<short>(factor)));
      total = i == 0 ? sum : _mm512_add_epi32(total, sum);
    }
    return total;
  }
};

}  // namespace
}  // namespace treadle::cpu
