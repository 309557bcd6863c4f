// y = Σ over a token's experts of weight · down(gate(x wg) * (x wu)).
#pragma once

#include "gated.h"

namespace treadle {

// Tokens are gathered by expert, so that each expert's weights are read once; sums run in the
// order of experts. Returns false for an expert that does not exist.
inline bool mixture(const Floats& x, int64_t T, int64_t D, const float* w, const int32_t* i,
                    int64_t A, const DLTensor* wg, const DLTensor* wu, const DLTensor* wd,
                    Act* to) {
  const int64_t E = wg->shape[0], F = wg->shape[1];
  for (int64_t p = 0; p < T * A; p++)
    if (i[p] < 0 || i[p] >= E) return false;
  Floats y(static_cast<size_t>(T * D)), rows, inner;
  std::vector<int64_t> pairs;
  for (int64_t e = 0; e < E; e++) {
    pairs.clear();
    for (int64_t p = 0; p < T * A; p++)
      if (i[p] == e) pairs.push_back(p);
    const auto n = static_cast<int64_t>(pairs.size());
    if (!n) continue;
    rows.resize(static_cast<size_t>(n * D));
    inner.resize(static_cast<size_t>(n * F));
    for (int64_t m = 0; m < n; m++)
      std::memcpy(rows.data() + m * D, x.data() + pairs[m] / A * D,
                  static_cast<size_t>(D) * sizeof(float));
    gated(rows.data(), n, D, in<Act>(wg) + e * F * D, in<Act>(wu) + e * F * D, F,
          [&](int64_t m, int64_t f, float v) { inner[m * F + f] = v; });
    linear(inner.data(), n, F, in<Act>(wd) + e * D * F, D,
           [&](int64_t m, int64_t d, float v) { y[pairs[m] / A * D + d] += w[pairs[m]] * v; });
  }
  for (int64_t k = 0; k < T * D; k++) put(to + k, y[k]);
  return true;
}

inline bool experts_fit(const DLTensor* wg, const DLTensor* wu, const DLTensor* wd, int64_t D) {
  if (!fits<Act>(wg, {-1, -1, D})) return false;
  const int64_t E = wg->shape[0], F = wg->shape[1];
  return fits<Act>(wu, {E, F, D}) && fits<Act>(wd, {E, D, F});
}

}  // namespace treadle
