// The best experts of every token, with their weights
#include "choose.h"

extern "C" int run(const DLTensor* x, const DLTensor* w, const DLTensor* i, void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1}) || !fits<float>(w, {x->shape[0], -1})) return kBadTensor;
  const int64_t T = x->shape[0], E = x->shape[1], A = w->shape[1];
  if (A > E || !fits<int32_t>(i, {T, A})) return kBadTensor;
  Floats row(static_cast<size_t>(E));
  for (int64_t t = 0; t < T; t++) {
    widen(row.data(), in<Act>(x) + t * E, E);
    choose(row.data(), E, A, out<float>(w) + t * A, out<int32_t>(i) + t * A);
  }
  return 0;
}
