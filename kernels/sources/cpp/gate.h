// The gate of a gated unit: SiLU, or GELU in its tanh form.
#pragma once

#include <cmath>

#include "constants.h"

namespace treadle {

inline float gate(float x) {
  if constexpr (kSilu) return x / (1.0f + std::exp(-x));
  const float inner = 0.7978845608028654f * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + std::tanh(inner));
}

}  // namespace treadle
