// q, k, v = x wqᵀ, x wkᵀ, x wvᵀ
#include "linear.h"

extern "C" int run(const DLTensor* x, const DLTensor* wq, const DLTensor* wk, const DLTensor* wv,
                   const DLTensor* q, const DLTensor* k, const DLTensor* v, void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1})) return kBadTensor;
  const int64_t T = x->shape[0], D = x->shape[1];
  const DLTensor *from[] = {wq, wk, wv}, *to[] = {q, k, v};
  for (int i = 0; i < 3; i++)
    if (!fits<Act>(from[i], {-1, D}) || !fits<Act>(to[i], {T, from[i]->shape[0]}))
      return kBadTensor;
  const Floats wide_x = widened(in<Act>(x), T * D);
  for (int i = 0; i < 3; i++)
    linear_to(wide_x.data(), T, D, in<Act>(from[i]), from[i]->shape[0], out<Act>(to[i]));
  return 0;
}
