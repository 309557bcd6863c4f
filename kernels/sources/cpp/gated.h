// The inner half of a gated feed-forward: gate(x gᵀ) * (x uᵀ).
#pragma once

#include "gate.h"
#include "linear.h"

namespace treadle {

// store(m, f, value) for x [M, D], g and u [F, D].
template <class Store>
void gated(const float* x, int64_t M, int64_t D, const Act* g, const Act* u, int64_t F,
           Store store) {
  Floats room, gates(static_cast<size_t>(M)), ups(static_cast<size_t>(M));
  for (int64_t f = 0; f < F; f++) {
    column(x, M, D, as_floats(g + f * D, D, room), gates.data());
    column(x, M, D, as_floats(u + f * D, D, room), ups.data());
    for (int64_t m = 0; m < M; m++) store(m, f, gate(gates[m]) * ups[m]);
  }
}

}  // namespace treadle
