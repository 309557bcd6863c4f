// Causal attention of batches as FlashInfer lays them out: queries, keys and pages by offsets.
#pragma once

#include "attend.h"

namespace treadle {

// What all layouts share; H query heads, K key heads of width d.
struct Batch {
  const DLTensor *q, *output, *lse;
  int64_t H, K, d;
  float scale;
};

// False unless q, output and lse fit each other and K divides their heads.
inline bool batch_fits(const Batch& b) {
  const int64_t rows = b.q->shape[0];
  return b.K > 0 && b.H % b.K == 0 && fits<Act>(b.output, {rows, b.H, b.d}) &&
         fits<float>(b.lse, {rows, b.H});
}

// Rows [first, last) are the last queries of a sequence of `length` positions; place(j, which, h)
// points to head h of position j.
template <class Place>
void sequence(const Batch& b, Attention& attend, int64_t first, int64_t last, int64_t length,
              Place place) {
  const int64_t G = b.H / b.K;
  for (int64_t t = first; t < last; t++) {
    const int64_t seen = length - (last - 1 - t);
    for (int64_t h = 0; h < b.K; h++) {
      const int64_t head = t * b.H + h * G;
      attend(
          in<Act>(b.q) + head * b.d, 0, seen,
          [&](int64_t j, int which) { return place(j, which, h); }, out<Act>(b.output) + head * b.d,
          out<float>(b.lse) + head);
    }
  }
}

// What no sequence covers is zero, with nothing seen.
inline void cleared(const Batch& b) {
  std::memset(at(b.output), 0, static_cast<size_t>(count(b.output)) * sizeof(Act));
  const int64_t n = count(b.lse);
  std::fill(out<float>(b.lse), out<float>(b.lse) + n, -std::numeric_limits<float>::infinity());
}

}  // namespace treadle
