// Routing and the chosen experts in one
#include "choose.h"
#include "mixture.h"

extern "C" int run(const DLTensor* scores, const DLTensor* x, const DLTensor* wg,
                   const DLTensor* wu, const DLTensor* wd, const DLTensor* y, void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1})) return kBadTensor;
  const int64_t T = x->shape[0], D = x->shape[1], A = kChosen;
  if (!experts_fit(wg, wu, wd, D) || !fits<Act>(y, {T, D})) return kBadTensor;
  const int64_t E = wg->shape[0];
  if (A > E || !fits<Act>(scores, {T, E})) return kBadTensor;
  const Floats logits = widened(in<Act>(scores), T * E);
  Floats w(static_cast<size_t>(T * A));
  std::vector<int32_t> i(static_cast<size_t>(T * A));
  for (int64_t t = 0; t < T; t++)
    choose(logits.data() + t * E, E, A, w.data() + t * A, i.data() + t * A);
  mixture(widened(in<Act>(x), T * D), T, D, w.data(), i.data(), A, wg, wu, wd, out<Act>(y));
  return 0;
}
