// Elementwise kernels, norm, rotation and quantisation of activations over any set of lanes.
#pragma once

#include "cpu/activations.h"
#include "cpu/kernels.h"

namespace treadle::cpu {
namespace {

// exp to about 2 units in the last place, 0 below -87.3, e^88 above 88, NaN for NaN. x = n ln 2 +
// r, with ln 2 in two parts; the polynomial is that of Cephes' expf.
template <class L>
static inline typename L::F exponential(typename L::F x) {
  using F = typename L::F;
  const F lowest = L::set(-87.3f);
  const F clamped = L::max(lowest, L::min(L::set(88.0f), x));
  const F magic = L::set(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F shifted = L::fma(clamped, L::set(1.44269504f), magic);
  const F n = L::sub(shifted, magic);
  F r = L::fma(n, L::set(-0.693359375f), clamped);
  r = L::fma(n, L::set(2.12194440e-4f), r);
  F p = L::set(1.9875691500e-4f);
  p = L::fma(p, r, L::set(1.3981999507e-3f));
  p = L::fma(p, r, L::set(8.3334519073e-3f));
  p = L::fma(p, r, L::set(4.1665795894e-2f));
  p = L::fma(p, r, L::set(1.6666665459e-1f));
  p = L::fma(p, r, L::set(5.0000001201e-1f));
  p = L::fma(L::mul(r, r), p, L::add(r, L::set(1.0f)));
  const auto power = L::add_i(L::template shl_i<23>(L::bits(shifted)), L::set_i(0x3F800000));
  return L::keep_unless_less(x, lowest, L::mul(p, L::floats(power)));
}

template <class L>
static inline typename L::F tangent(typename L::F x) {  // hyperbolic; about 1e-7 absolute
  const auto e = exponential<L>(L::add(x, x));
  return L::sub(L::set(1.0f), L::div(L::set(2.0f), L::add(e, L::set(1.0f))));
}

// The lanes of 16 floats in one fixed tree.
template <class L>
static inline float sum_lanes(typename L::F x) {
  float v[16];
  L::store(v, x);
  for (int half = 8; half; half /= 2) {
    for (int i = 0; i < half; ++i) v[i] += v[i + half];
  }
  return v[0];
}

template <class L>
static inline typename L::F load_some(const float* x, size_t count) {  // the rest is 0
  float v[16] = {};
  for (size_t i = 0; i < count; ++i) v[i] = x[i];
  return L::load(v);
}

// y[i] = fn(a[i], b[i]) with a partial vector at the end.
template <class L, class Fn>
static inline void each(const float* a, const float* b, size_t count, float* y, Fn fn) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) L::store(y + i, fn(L::load(a + i), L::load(b + i)));
  if (i == count) return;
  float lanes[16];
  L::store(lanes, fn(load_some<L>(a + i, count - i), load_some<L>(b + i, count - i)));
  for (size_t j = 0; i + j < count; ++j) y[i + j] = lanes[j];
}

template <class L>
static void glu(Gate gate, const float* g, const float* u, size_t count, float* y) {
  using F = typename L::F;
  const F one = L::set(1.0f);
  if (gate == Gate::silu) {
    each<L>(g, u, count, y, [&](F a, F b) {
      const F e = exponential<L>(L::sub(L::set(0.0f), a));
      return L::mul(L::div(a, L::add(one, e)), b);
    });
    return;
  }
  each<L>(g, u, count, y, [&](F a, F b) {
    const F cubed = L::mul(L::mul(a, a), a);
    const F inner = L::mul(L::set(0.7978845608f), L::fma(L::set(0.044715f), cubed, a));
    const F half = L::mul(L::set(0.5f), a);
    return L::mul(L::mul(half, L::add(one, tangent<L>(inner))), b);
  });
}

template <class L>
static void add_rows(const float* a, const float* b, size_t count, float* y) {
  each<L>(a, b, count, y, [](auto p, auto q) { return L::add(p, q); });
}

template <class L>
static void scale_row(const float* x, float by, size_t count, float* y) {
  each<L>(x, x, count, y, [&](auto p, auto) { return L::mul(p, L::set(by)); });
}

template <class L>
static void softcap_row(const float* x, float cap, size_t count, float* y) {
  each<L>(x, x, count, y,
          [&](auto p, auto) { return L::mul(L::set(cap), tangent<L>(L::div(p, L::set(cap)))); });
}

// Squares are summed in 32 lanes.
template <class L>
static void rmsnorm(const float* x, const float* w, size_t columns, float eps, float* y) {
  typename L::F even = L::set(0.0f), odd = even;
  size_t i = 0;
  for (; i + 32 <= columns; i += 32) {
    const auto a = L::load(x + i), b = L::load(x + i + 16);
    even = L::fma(a, a, even);
    odd = L::fma(b, b, odd);
  }
  for (; i < columns; i += 16) {
    const auto a = columns - i < 16 ? load_some<L>(x + i, columns - i) : L::load(x + i);
    even = L::fma(a, a, even);
  }
  const float mean = sum_lanes<L>(L::add(even, odd)) / static_cast<float>(columns);
  const auto factor = L::set(1.0f / __builtin_sqrtf(mean + eps));
  each<L>(x, w, columns, y, [&](auto a, auto b) { return L::mul(L::mul(a, factor), b); });
}

template <class L>
static void rope(float* x, size_t heads, size_t size, size_t apart, const float* cosines,
                 const float* sines, size_t pairs) {
  (void)size;
  for (size_t h = 0; h < heads; ++h, x += apart) {
    float* high = x + pairs;
    size_t j = 0;
    for (; j + 16 <= pairs; j += 16) {
      const auto a = L::load(x + j), b = L::load(high + j);
      const auto c = L::load(cosines + j), s = L::load(sines + j);
      L::store(x + j, L::sub(L::mul(a, c), L::mul(b, s)));
      L::store(high + j, L::add(L::mul(b, c), L::mul(a, s)));
    }
    for (; j < pairs; ++j) {
      const float a = x[j], b = high[j];
      x[j] = a * cosines[j] - b * sines[j];
      high[j] = b * cosines[j] + a * sines[j];
    }
  }
}

template <class L>
static void quantise(const float* x, size_t columns, uint8_t* row) {
  constexpr int32_t least = 0x0DA24260;     // 1e-30: below it a block counts as zero
  constexpr int32_t infinite = 0x7F800000;  // and above it as not a number
  using Q = QuantRow;
  const auto positive = L::set_i(0x7FFFFFFF), offset = L::set_i(0x4B400000);
  const auto magic = L::set(12582912.0f);
  const auto put = [](uint8_t* to, auto value) { __builtin_memcpy(to, &value, sizeof value); };
  for (size_t b = 0; b < Q::of(columns).blocks; ++b, row += Q::record) {
    float scale = 0.0f, inverse = 0.0f;
    int32_t sums[2] = {0, 0};
    if (b * 32 < columns) {
      const auto first = L::load(x + b * 32), second = L::load(x + b * 32 + 16);
      const int32_t most = L::most_i(
          L::max_i(L::and_i(L::bits(first), positive), L::and_i(L::bits(second), positive)));
      float biggest;
      __builtin_memcpy(&biggest, &most, 4);
      if (most >= infinite) {
        scale = __builtin_nanf("");
      } else if (most > least) {
        scale = biggest / 127.0f;
        inverse = 127.0f / biggest;
      }
      if (inverse != 0.0f) {
        const auto by = L::set(inverse);
        const auto p = L::sub_i(L::bits(L::fma(first, by, magic)), offset);
        const auto q = L::sub_i(L::bits(L::fma(second, by, magic)), offset);
        L::store_s8(row, p);
        L::store_s8(row + 16, q);
        L::sums_i(p, q, sums);
      }
    }
    if (inverse == 0.0f) __builtin_memset(row, 0, 32);
    const int32_t sum = sums[0] + sums[1];
    put(row + Q::scale, scale);
    put(row + Q::scaled_sum, scale * static_cast<float>(sum));
    put(row + Q::less8, -8 * sum);
    put(row + Q::less128, -128 * sum);
    put(row + Q::less32, -32 * sums[0]);
    put(row + Q::less32 + 4, -32 * sums[1]);
  }
}

}  // namespace
}  // namespace treadle::cpu
