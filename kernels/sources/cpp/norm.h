// The root mean square of a row, inverted.
#pragma once

#include <cmath>

#include "tensor.h"

namespace treadle {

inline float inverse_rms(const float* x, int64_t D) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < D; i++) sum += x[i] * x[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(D) + kEps);
}

// Overwrites a row with its norm, weighted.
inline void norm_row(float* x, const Floats& w) {
  const float by = inverse_rms(x, static_cast<int64_t>(w.size()));
  for (size_t i = 0; i < w.size(); i++) x[i] = x[i] * by * w[i];
}

template <class T>
void store_row(T* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; i++) put(to + i, from[i]);
}

}  // namespace treadle
