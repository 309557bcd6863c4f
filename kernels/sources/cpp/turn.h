// Rotary embedding of one head: half-split pairs, the rest stays.
#pragma once

#include "tensor.h"

namespace treadle {

// Overwrites x[0 … 2r) by its rotation with r cosines and sines.
inline void turn(float* x, const float* cosines, const float* sines, int64_t r) {
  for (int64_t j = 0; j < r; j++) {
    const float first = x[j], second = x[r + j];
    x[j] = first * cosines[j] - second * sines[j];
    x[r + j] = second * cosines[j] + first * sines[j];
  }
}

}  // namespace treadle
