// Types and operands of the CPU kernels: dense DLPack tensors in, float32 arithmetic inside.
#pragma once

#include <cstring>
#include <vector>

#include "constants.h"
#include "dltensor.h"

namespace treadle {

using Floats = std::vector<float>;

inline float wide(float x) {
  return x;
}
inline float wide(f16 x) {
  return static_cast<float>(x);
}
inline float wide(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

inline void put(float* to, float x) {
  *to = x;
}
inline void put(f16* to, float x) {
  *to = static_cast<f16>(x);
}
inline void put(bf16* to, float x) {  // to nearest, ties to even; NaN stays NaN
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  to->bits = static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40 : rounded);
}

// What rounding to the storage type leaves of a value.
template <class T>
float rounded(float x) {
  T t;
  put(&t, x);
  return wide(t);
}

inline bool is_type(const DLTensor* t, const float*, int n) {
  return is(t, 2, 32, n);
}
inline bool is_type(const DLTensor* t, const f16*, int n) {
  return is(t, 2, 16, n);
}
inline bool is_type(const DLTensor* t, const bf16*, int n) {
  return is(t, 4, 16, n);
}
inline bool is_type(const DLTensor* t, const int32_t*, int n) {
  return is(t, 0, 32, n);
}
inline bool is_type(const DLTensor* t, const int64_t*, int n) {
  return is(t, 0, 64, n);
}
inline bool is_type(const DLTensor* t, const int8_t*, int n) {
  return is(t, 0, 8, n);
}

// A dense tensor of type T whose axes are `sizes`; -1 takes any.
template <class T>
bool fits(const DLTensor* t, std::initializer_list<int64_t> sizes) {
  if (!is_type(t, static_cast<const T*>(nullptr), static_cast<int>(sizes.size()))) return false;
  const int64_t* shape = t->shape;
  for (int64_t size : sizes)
    if (size >= 0 && *shape++ != size)
      return false;
    else if (size < 0)
      shape++;
  return true;
}

template <class T>
const T* in(const DLTensor* t) {
  return static_cast<const T*>(at(t));
}
template <class T>
T* out(const DLTensor* t) {
  return static_cast<T*>(at(t));
}

inline int64_t count(const DLTensor* t) {
  int64_t n = 1;
  for (int i = 0; i < t->ndim; i++) n *= t->shape[i];
  return n;
}

template <class T>
void widen(float* to, const T* from, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] = wide(from[i]);
}

template <class T>
Floats widened(const T* from, int64_t n) {
  Floats made(static_cast<size_t>(n));
  widen(made.data(), from, n);
  return made;
}

// A vector of D float32 or storage-type values; empty if it is neither.
inline Floats weights(const DLTensor* t, int64_t D) {
  if (fits<float>(t, {D})) return widened(in<float>(t), D);
  if (fits<Act>(t, {D})) return widened(in<Act>(t), D);
  return {};
}

// y = f(x) over all elements.
template <class F>
int map(const DLTensor* x, const DLTensor* y, F f) {
  if (!is_type(x, static_cast<const Act*>(nullptr), x->ndim) ||
      !is_type(y, static_cast<const Act*>(nullptr), y->ndim) || count(x) != count(y))
    return kBadTensor;
  const Act* from = in<Act>(x);
  Act* to = out<Act>(y);
  for (int64_t i = 0, n = count(x); i < n; i++) put(to + i, f(wide(from[i])));
  return 0;
}

// z = f(x, y) over all elements.
template <class F>
int map(const DLTensor* x, const DLTensor* y, const DLTensor* z, F f) {
  if (!is_type(x, static_cast<const Act*>(nullptr), x->ndim) ||
      !is_type(y, static_cast<const Act*>(nullptr), y->ndim) ||
      !is_type(z, static_cast<const Act*>(nullptr), z->ndim) || count(x) != count(y) ||
      count(x) != count(z))
    return kBadTensor;
  const Act *a = in<Act>(x), *b = in<Act>(y);
  Act* to = out<Act>(z);
  for (int64_t i = 0, n = count(x); i < n; i++) put(to + i, f(wide(a[i]), wide(b[i])));
  return 0;
}

}  // namespace treadle
