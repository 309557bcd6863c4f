// Routing of one token: the A best experts and their weights.
#pragma once

#include <algorithm>
#include <cmath>

#include "tensor.h"

namespace treadle {

// scores [E] → w [A], i [A], best first; of equal scores the lower expert comes first.
inline void choose(const float* scores, int64_t E, int64_t A, float* w, int32_t* i) {
  float top = scores[0], mass = 0, kept = 0;
  for (int64_t e = 1; e < E; e++) top = std::max(top, scores[e]);
  if constexpr (kSoftmax)
    for (int64_t e = 0; e < E; e++) mass += std::exp(scores[e] - top);
  for (int64_t a = 0; a < A; a++) {
    int64_t best = -1;
    for (int64_t e = 0; e < E; e++)
      if (std::find(i, i + a, e) == i + a && (best < 0 || scores[e] > scores[best])) best = e;
    i[a] = static_cast<int32_t>(best);
    w[a] = kSoftmax ? std::exp(scores[best] - top) / mass : 1 / (1 + std::exp(-scores[best]));
    kept += w[a];
  }
  if constexpr (kRenorm)
    for (int64_t a = 0; a < A; a++) w[a] /= kept;
}

}  // namespace treadle
