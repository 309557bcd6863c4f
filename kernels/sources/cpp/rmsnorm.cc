// y = x / rms(x) * w
#include "norm.h"

extern "C" int run(const DLTensor* x, const DLTensor* w, const DLTensor* y, void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1})) return kBadTensor;
  const int64_t T = x->shape[0], D = x->shape[1];
  const Floats by = weights(w, D);
  if (by.empty() || !fits<Act>(y, {T, D})) return kBadTensor;
  Floats row(static_cast<size_t>(D));
  for (int64_t t = 0; t < T; t++) {
    widen(row.data(), in<Act>(x) + t * D, D);
    norm_row(row.data(), by);
    store_row(out<Act>(y) + t * D, row.data(), D);
  }
  return 0;
}
