// Each token through its experts, which `route` chose
#include "mixture.h"

extern "C" int run(const DLTensor* x, const DLTensor* w, const DLTensor* i, const DLTensor* wg,
                   const DLTensor* wu, const DLTensor* wd, const DLTensor* y, void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1}) || !fits<float>(w, {x->shape[0], -1})) return kBadTensor;
  const int64_t T = x->shape[0], D = x->shape[1], A = w->shape[1];
  if (!fits<int32_t>(i, {T, A}) || !experts_fit(wg, wu, wd, D) || !fits<Act>(y, {T, D}))
    return kBadTensor;
  const bool done = mixture(widened(in<Act>(x), T * D), T, D, in<float>(w), in<int32_t>(i), A, wg,
                            wu, wd, out<Act>(y));
  return done ? 0 : kBadTensor;
}
