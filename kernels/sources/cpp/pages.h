// A pool of key and value pages: [P, 2, B, K, d].
#pragma once

#include "tensor.h"

namespace treadle {

struct Pool {
  int64_t P, B, K, d;

  // Where head 0 of key (0) or value (1) of a slot lies; a slot is page · B + offset.
  int64_t offset(int64_t slot, int which) const {
    return ((slot / B * 2 + which) * B + slot % B) * K * d;
  }
  bool has(int64_t slot) const { return slot >= 0 && slot < P * B; }
};

// Copies the pool, whose next version is an output of its own. False if they do not fit.
inline bool copied(const DLTensor* kv, const DLTensor* next, Pool* pool) {
  if (!fits<Act>(kv, {-1, 2, -1, -1, -1})) return false;
  *pool = {kv->shape[0], kv->shape[2], kv->shape[3], kv->shape[4]};
  if (!fits<Act>(next, {pool->P, 2, pool->B, pool->K, pool->d})) return false;
  std::memcpy(at(next), at(kv), static_cast<size_t>(count(kv)) * sizeof(Act));
  return true;
}

}  // namespace treadle
