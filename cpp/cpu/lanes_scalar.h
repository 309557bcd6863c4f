// Sixteen lanes in plain C++: the meaning of the operations that lanes_avx2.h and lanes_avx512.h
// give with instructions. Every kernel is a template over such a set, so all variants do the same
// operations in the same order. Everything here is local to the file that includes it: a variant's
// code must never be linked into another's.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/half.h"

namespace treadle::cpu {
namespace {

struct ScalarLanes {
  static constexpr int kTile = 1;  // rows of activations that share one read of the weights

  struct F {
    float v[16];
  };
  struct I {
    int32_t v[16];
  };
  struct B {  // a line: 4 neighbours of each of 16 rows
    uint8_t v[64];
  };

  template <class Out, class Fn>
  static Out map(Fn fn) {
    Out out;
    for (int i = 0; i < 16; ++i) out.v[i] = fn(i);
    return out;
  }

  static F load(const float* p) {
    return map<F>([&](int i) { return p[i]; });
  }
  static void store(float* p, F a) { std::memcpy(p, a.v, sizeof a.v); }
  static F set(float x) {
    return map<F>([&](int) { return x; });
  }
  static F half(const uint16_t* p) {
    return map<F>([&](int i) { return widen_half(p[i]); });
  }
  static F brain(const uint16_t* p) {
    return map<F>([&](int i) { return widen_brain(p[i]); });
  }
  static void store_half(uint16_t* p, F a) {
    for (int i = 0; i < 16; ++i) p[i] = narrow_half(a.v[i]);
  }
  static F add(F a, F b) {
    return map<F>([&](int i) { return a.v[i] + b.v[i]; });
  }
  static F sub(F a, F b) {
    return map<F>([&](int i) { return a.v[i] - b.v[i]; });
  }
  static F mul(F a, F b) {
    return map<F>([&](int i) { return a.v[i] * b.v[i]; });
  }
  static F div(F a, F b) {
    return map<F>([&](int i) { return a.v[i] / b.v[i]; });
  }
  static F fma(F a, F b, F c) {  // a * b + c, rounded once
    return map<F>([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
  }
  // The second operand where the two do not compare, as the instructions do.
  static F min(F a, F b) {
    return map<F>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static F max(F a, F b) {
    return map<F>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  // 0 where a < b, else x.
  static F keep_unless_less(F a, F b, F x) {
    return map<F>([&](int i) { return a.v[i] < b.v[i] ? 0.0f : x.v[i]; });
  }

  static I set_i(int32_t x) {
    return map<I>([&](int) { return x; });
  }
  static I bits(F a) { return std::bit_cast<I>(a); }
  static F floats(I a) { return std::bit_cast<F>(a); }
  static I add_i(I a, I b) {
    return map<I>([&](int i) { return wrap(a, i) + wrap(b, i); });
  }
  static I sub_i(I a, I b) {
    return map<I>([&](int i) { return wrap(a, i) - wrap(b, i); });
  }
  static I and_i(I a, I b) {
    return map<I>([&](int i) { return a.v[i] & b.v[i]; });
  }
  static I max_i(I a, I b) {
    return map<I>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  template <int N>
  static I shl_i(I a) {
    return map<I>([&](int i) { return wrap(a, i) << N; });
  }
  static F from_int(I a) {
    return map<F>([&](int i) { return static_cast<float>(a.v[i]); });
  }
  static I from_u8(const uint8_t* p) {
    return map<I>([&](int i) { return p[i]; });
  }
  static I from_s8(const uint8_t* p) {
    return map<I>([&](int i) { return static_cast<int8_t>(p[i]); });
  }
  static void store_s8(uint8_t* p, I a) {  // lanes lie in -128..127
    for (int i = 0; i < 16; ++i) p[i] = static_cast<uint8_t>(a.v[i]);
  }
  static void sums_i(I a, I b, int32_t out[2]) {  // lanes lie in -128..127
    out[0] = out[1] = 0;
    for (int32_t lane : a.v) out[0] += lane;
    for (int32_t lane : b.v) out[1] += lane;
  }
  static int32_t most_i(I a) {
    int32_t most = a.v[0];
    for (int32_t lane : a.v) most = lane > most ? lane : most;
    return most;
  }

  static B line(const uint8_t* p) {
    B out;
    std::memcpy(out.v, p, sizeof out.v);
    return out;
  }
  static B low(B a) {
    for (uint8_t& byte : a.v) byte &= 15;
    return a;
  }
  static B high(B a) {
    for (uint8_t& byte : a.v) byte >>= 4;
    return a;
  }
  // Bits of b moved by Shift (to the left if positive) and masked, joined to a.
  template <int Shift, int Mask>
  static B join(B a, B b) {
    for (int i = 0; i < 64; ++i) {
      const int moved = Shift >= 0 ? b.v[i] << Shift : b.v[i] >> -Shift;
      a.v[i] = static_cast<uint8_t>(a.v[i] | (moved & Mask));
    }
    return a;
  }

  template <int Bits, int N>
  struct Ready {
    B w[N];
  };
  template <int Bits, int N>
  static Ready<Bits, N> ready(const B (&w)[N]) {
    Ready<Bits, N> out;
    for (int i = 0; i < N; ++i) out.w[i] = w[i];
    return out;
  }
  // Row sums of u8 weights below 2^Bits times int8 activations |x| <= 127, 4 * N columns. Exact.
  // Not inlined: a hundred copies would take a minute to compile.
  template <int Bits, int N>
  [[gnu::noinline]] static I dot(const Ready<Bits, N>& w, const uint8_t* x) {
    I out = set_i(0);
    for (int n = 0; n < N; ++n) {
      for (int i = 0; i < 64; ++i) {
        out.v[i / 4] += w.w[n].v[i] * static_cast<int8_t>(x[n * 4 + i % 4]);
      }
    }
    return out;
  }

  static void prefetch(const uint8_t*) {}  // to the first cache; far: to the second
  static void prefetch_far(const uint8_t*) {}

 private:
  static uint32_t wrap(const I& a, int i) { return static_cast<uint32_t>(a.v[i]); }
};

}  // namespace
}  // namespace treadle::cpu
