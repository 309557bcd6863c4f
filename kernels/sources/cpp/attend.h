// Attention of the query heads that share one key head, over a run of positions.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor.h"

namespace treadle {

struct Heads {
  int64_t G, d;  // query heads that share the keys, width of a head
  float scale, cap;
};

class Attention {
 public:
  explicit Attention(Heads heads)
      : heads_(heads),
        q_(static_cast<size_t>(heads.G * heads.d)),
        sum_(q_.size()),
        row_(static_cast<size_t>(heads.d)) {}

  // Queries q [G, d] over positions [first, last); place(j, which) points to d values of the key
  // (0) or value (1) of position j. out [G, d]; lse [G] in base 2, -inf where no key is seen.
  template <class Place>
  void operator()(const Act* q, int64_t first, int64_t last, Place place, Act* out, float* lse) {
    const auto [G, d, scale, cap] = heads_;
    const int64_t n = std::max<int64_t>(last - first, 0);
    weights_.resize(static_cast<size_t>(G * n));
    widen(q_.data(), q, G * d);
    for (int64_t j = 0; j < n; j++) {
      widen(row_.data(), place(first + j, 0), d);
      for (int64_t g = 0; g < G; g++) {
        const float s = dot(q_.data() + g * d) * scale;
        weights_[g * n + j] = cap > 0 ? cap * std::tanh(s / cap) : s;
      }
    }
    std::fill(sum_.begin(), sum_.end(), 0.0f);
    for (int64_t g = 0; g < G; g++) lse[g] = normalise(weights_.data() + g * n, n);
    for (int64_t j = 0; j < n; j++) {
      widen(row_.data(), place(first + j, 1), d);
      for (int64_t g = 0; g < G; g++) {
        const float p = weights_[g * n + j];
        for (int64_t i = 0; i < d; i++) sum_[g * d + i] += p * row_[i];
      }
    }
    for (int64_t i = 0; i < G * d; i++) put(out + i, sum_[i]);
  }

 private:
  float dot(const float* q) const {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < heads_.d; i++) sum += q[i] * row_[i];
    return sum;
  }

  // Scores → weights; returns the logarithm of their sum to base 2.
  static float normalise(float* w, int64_t n) {
    if (!n) return -std::numeric_limits<float>::infinity();
    const float top = *std::max_element(w, w + n);
    float mass = 0;
    for (int64_t j = 0; j < n; j++) mass += w[j] = std::exp(w[j] - top);
    for (int64_t j = 0; j < n; j++) w[j] /= mass;
    return (top + std::log(mass)) * 1.4426950408889634f;
  }

  Heads heads_;
  Floats q_, sum_, row_, weights_;
};

}  // namespace treadle
