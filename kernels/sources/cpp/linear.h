// y = x wᵀ for x [M, K] in float32 and w [N, K] in any storage type.
#pragma once

#include "tensor.h"

namespace treadle {

// Up to four dot products with one row: independent sums hide the latency of each other.
template <int R>
void dots(const float* x, int64_t stride, const float* w, int64_t K, float* to) {
  float a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
  for (int64_t k = 0; k < K; k++) {
    a += x[k] * w[k];
    if constexpr (R > 1) b += x[stride + k] * w[k];
    if constexpr (R > 2) c += x[2 * stride + k] * w[k];
    if constexpr (R > 3) d += x[3 * stride + k] * w[k];
  }
  to[0] = a;
  if constexpr (R > 1) to[1] = b;
  if constexpr (R > 2) to[2] = c;
  if constexpr (R > 3) to[3] = d;
}

// All M products of x with one row of w.
inline void column(const float* x, int64_t M, int64_t K, const float* w, float* to) {
  int64_t m = 0;
  for (; m + 4 <= M; m += 4) dots<4>(x + m * K, K, w, K, to + m);
  switch (M - m) {
    case 3:
      return dots<3>(x + m * K, K, w, K, to + m);
    case 2:
      return dots<2>(x + m * K, K, w, K, to + m);
    case 1:
      return dots<1>(x + m * K, K, w, K, to + m);
    default:
      return;
  }
}

inline const float* as_floats(const float* row, int64_t, Floats&) {
  return row;
}
template <class W>
const float* as_floats(const W* row, int64_t K, Floats& room) {
  room.resize(static_cast<size_t>(K));
  widen(room.data(), row, K);
  return room.data();
}

// store(m, n, value) for every element; each row of w is read once.
template <class W, class Store>
void linear(const float* x, int64_t M, int64_t K, const W* w, int64_t N, Store store) {
  Floats room, sums(static_cast<size_t>(M));
  for (int64_t n = 0; n < N; n++) {
    column(x, M, K, as_floats(w + n * K, K, room), sums.data());
    for (int64_t m = 0; m < M; m++) store(m, n, sums[m]);
  }
}

// The same into a tensor [M, N].
template <class W>
void linear_to(const float* x, int64_t M, int64_t K, const W* w, int64_t N, Act* to) {
  linear(x, M, K, w, N, [=](int64_t m, int64_t n, float v) { put(to + m * N + n, v); });
}

}  // namespace treadle
