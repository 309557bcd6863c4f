// sum = x + y; normed = sum / rms(sum) * w. `run` norms the sum as it is stored and gives both;
// `run_normed` never rounds the sum and gives the norm alone.
#include "norm.h"

namespace treadle {

static int added(const DLTensor* x, const DLTensor* y, const DLTensor* w, const DLTensor* sum,
                 const DLTensor* normed) {
  if (!fits<Act>(x, {-1, -1})) return kBadTensor;
  const int64_t T = x->shape[0], D = x->shape[1];
  const Floats by = weights(w, D);
  if (by.empty() || !fits<Act>(y, {T, D}) || !fits<Act>(normed, {T, D}) ||
      (sum && !fits<Act>(sum, {T, D})))
    return kBadTensor;
  Floats row(static_cast<size_t>(D));
  for (int64_t t = 0; t < T; t++) {
    const Act *a = in<Act>(x) + t * D, *b = in<Act>(y) + t * D;
    for (int64_t i = 0; i < D; i++) row[i] = wide(a[i]) + wide(b[i]);
    if (sum) {
      store_row(out<Act>(sum) + t * D, row.data(), D);
      widen(row.data(), in<Act>(sum) + t * D, D);
    }
    norm_row(row.data(), by);
    store_row(out<Act>(normed) + t * D, row.data(), D);
  }
  return 0;
}

}  // namespace treadle

extern "C" int run(const DLTensor* x, const DLTensor* y, const DLTensor* w, const DLTensor* sum,
                   const DLTensor* normed, void*) {
  return treadle::added(x, y, w, sum, normed);
}

extern "C" int run_normed(const DLTensor* x, const DLTensor* y, const DLTensor* w,
                          const DLTensor* normed, void*) {
  return treadle::added(x, y, w, nullptr, normed);
}
