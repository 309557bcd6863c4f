// y = norm(x) wᵀ over all rows (`run`), or over the rows asked for (`run_take`)
#include "linear.h"
#include "norm.h"

namespace treadle {

static int normed(const DLTensor* x, const DLTensor* rows, const DLTensor* norm, const DLTensor* w,
                  const DLTensor* y) {
  if (!fits<Act>(x, {-1, -1}) || (rows && !fits<int32_t>(rows, {-1}))) return kBadTensor;
  const int64_t T = x->shape[0], D = x->shape[1], R = rows ? rows->shape[0] : T;
  const Floats by = weights(norm, D);
  if (by.empty() || !fits<Act>(w, {-1, D}) || !fits<Act>(y, {R, w->shape[0]})) return kBadTensor;
  Floats inner(static_cast<size_t>(R * D));
  for (int64_t r = 0; r < R; r++) {
    const int64_t t = rows ? in<int32_t>(rows)[r] : r;
    if (t < 0 || t >= T) return kBadTensor;
    float* row = inner.data() + r * D;
    widen(row, in<Act>(x) + t * D, D);
    norm_row(row, by);
    for (int64_t i = 0; i < D; i++) row[i] = rounded<Act>(row[i]);
  }
  linear_to(inner.data(), R, D, in<Act>(w), w->shape[0], out<Act>(y));
  return 0;
}

}  // namespace treadle

extern "C" int run(const DLTensor* x, const DLTensor* norm, const DLTensor* w, const DLTensor* y,
                   void*) {
  return treadle::normed(x, nullptr, norm, w, y);
}

extern "C" int run_take(const DLTensor* x, const DLTensor* rows, const DLTensor* norm,
                        const DLTensor* w, const DLTensor* y, void*) {
  return treadle::normed(x, rows, norm, w, y);
}
