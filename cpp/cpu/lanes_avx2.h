// Sixteen lanes in two 256-bit registers: AVX2, FMA, F16C. Meanings: lanes_scalar.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace treadle::cpu {
namespace {

struct Avx2Lanes {
  static constexpr int kTile = 4;

  struct F {
    __m256 a, b;
  };
  struct I {
    __m256i a, b;
  };
  using B = I;

  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, F x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
  }
  static F set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F half(const uint16_t* p) {
    return {_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 8))};
  }
  static F brain(const uint16_t* p) { return {brain8(p), brain8(p + 8)}; }
  static void store_half(uint16_t* p, F x) {
    store128(p, _mm256_cvtps_ph(x.a, nearest));
    store128(p + 8, _mm256_cvtps_ph(x.b, nearest));
  }
  static F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F fma(F x, F y, F z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
  }
  static F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static F keep_unless_less(F x, F y, F z) {
    return {_mm256_and_ps(_mm256_cmp_ps(x.a, y.a, _CMP_NLT_UQ), z.a),
            _mm256_and_ps(_mm256_cmp_ps(x.b, y.b, _CMP_NLT_UQ), z.b)};
  }

  static I set_i(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static I bits(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
  static F floats(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
  static I add_i(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static I sub_i(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
  static I and_i(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  static I max_i(I x, I y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }
  template <int N>
  static I shl_i(I x) {
    return {_mm256_slli_epi32(x.a, N), _mm256_slli_epi32(x.b, N)};
  }
  static F from_int(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static I from_u8(const uint8_t* p) {
    return {_mm256_cvtepu8_epi32(load64(p)), _mm256_cvtepu8_epi32(load64(p + 8))};
  }
  static I from_s8(const uint8_t* p) {
    return {_mm256_cvtepi8_epi32(load64(p)), _mm256_cvtepi8_epi32(load64(p + 8))};
  }
  static void store_s8(uint8_t* p, I x) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    store128(p, bytes);
  }
  static void sums_i(I x, I y, int32_t out[2]) {
    const __m256i pairs = _mm256_madd_epi16(
        _mm256_add_epi16(_mm256_packs_epi32(x.a, y.a), _mm256_packs_epi32(x.b, y.b)),
        _mm256_set1_epi16(1));
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_hadd_epi32(four, four));
  }
  static int32_t most_i(I x) {
    const __m256i s = _mm256_max_epi32(x.a, x.b);
    __m128i t = _mm_max_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_max_epi32(t, _mm_shuffle_epi32(t, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(t, _mm_shuffle_epi32(t, 0xB1)));
  }

  static B line(const uint8_t* p) { return {load256(p), load256(p + 32)}; }
  static B low(B x) { return {low32(x.a), low32(x.b)}; }
  static B high(B x) {
    return {low32(_mm256_srli_epi16(x.a, 4)), low32(_mm256_srli_epi16(x.b, 4))};
  }
  template <int Shift, int Mask>
  static B join(B x, B y) {
    return {join32<Shift, Mask>(x.a, y.a), join32<Shift, Mask>(x.b, y.b)};
  }

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
      return add_i(part<4, N>(w.w, x, 1), part<4, N>(w.top, x, 16));
    } else {
      return part<Bits, N>(w.w, x, 1);
    }
  }

  static void prefetch(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static void prefetch_far(const uint8_t* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }

 private:
  static constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

  static __m128i load64(const void* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  static __m128i load128(const void* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  }
  static __m256i load256(const void* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store128(void* p, __m128i x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), x); }
  static __m256 brain8(const uint16_t* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
  }
  static __m256i low32(__m256i x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
  template <int Shift, int Mask>
  static __m256i join32(__m256i x, __m256i y) {
    const __m256i moved = Shift >= 0 ? _mm256_slli_epi16(y, Shift < 0 ? 0 : Shift)
                                     : _mm256_srli_epi16(y, Shift < 0 ? -Shift : 0);
    const __m256i mask = _mm256_set1_epi8(static_cast<char>(Mask));
    return _mm256_or_si256(x, _mm256_and_si256(moved, mask));
  }
  static __m256i four(const uint8_t* x) {
    int32_t word;
    __builtin_memcpy(&word, x, 4);
    return _mm256_set1_epi32(word);
  }
  // As many products as surely fit are summed in 16 bits: 2 * 127 * (2^Bits - 1) * run < 2^15.
  template <int Bits, int N>
  static I part(const B* w, const uint8_t* x, int factor) {
    constexpr int fits = Bits == 4 ? 8 : Bits == 5 ? 4 : 2;
    constexpr int run = fits < N ? fits : N;
    const __m256i factors = _mm256_set1_epi16(static_cast<short>(factor));
    I total = set_i(0);
#pragma GCC unroll 8
    for (int i = 0; i < N; i += run) {
      __m256i word = four(x + 4 * i);
      __m256i a = _mm256_maddubs_epi16(w[i].a, word), b = _mm256_maddubs_epi16(w[i].b, word);
#pragma GCC unroll 8
      for (int j = 1; j < run; ++j) {
        word = four(x + 4 * (i + j));
        a = _mm256_add_epi16(a, _mm256_maddubs_epi16(w[i + j].a, word));
        b = _mm256_add_epi16(b, _mm256_maddubs_epi16(w[i + j].b, word));
      }
      const I sum = {_mm256_madd_epi16(a, factors), _mm256_madd_epi16(b, factors)};
      total = i == 0 ? sum : add_i(total, sum);
    }
    return total;
  }
};

}  // namespace
}  // namespace treadle::cpu
