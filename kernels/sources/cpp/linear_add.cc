// sum = x wᵀ + y, the product rounded to the storage type before it is added
#include "linear.h"

extern "C" int run(const DLTensor* x, const DLTensor* w, const DLTensor* y, const DLTensor* sum,
                   void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1}) || !fits<Act>(w, {-1, x->shape[1]})) return kBadTensor;
  const int64_t T = x->shape[0], I = x->shape[1], O = w->shape[0];
  if (!fits<Act>(y, {T, O}) || !fits<Act>(sum, {T, O})) return kBadTensor;
  const Act* more = in<Act>(y);
  Act* to = out<Act>(sum);
  linear(widened(in<Act>(x), T * I).data(), T, I, in<Act>(w), O,
         [=](int64_t t, int64_t o, float v) {
           put(to + t * O + o, rounded<Act>(v) + wide(more[t * O + o]));
         });
  return 0;
}
