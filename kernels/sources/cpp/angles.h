// Rotation angles of a position.
#pragma once

#include <cmath>

#include "tensor.h"

namespace treadle {

// Cosines and sines of a position: trig [2, r].
inline void angles(float position, const float* freq, int64_t r, float* trig) {
  for (int64_t j = 0; j < r; j++) {
    const float angle = position * freq[j];
    trig[j] = std::cos(angle) * kMscale;
    trig[r + j] = std::sin(angle) * kMscale;
  }
}

}  // namespace treadle
