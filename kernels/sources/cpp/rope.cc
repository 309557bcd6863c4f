// Rotary embedding at given positions
#include "angles.h"
#include "turn.h"

extern "C" int run(const DLTensor* x, const DLTensor* pos, const DLTensor* freq, const DLTensor* y,
                   void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1, -1}) || !fits<float>(freq, {-1})) return kBadTensor;
  const int64_t T = x->shape[0], H = x->shape[1], d = x->shape[2], r = freq->shape[0];
  if (2 * r > d || !fits<int32_t>(pos, {T}) || !fits<Act>(y, {T, H, d})) return kBadTensor;
  Floats head(static_cast<size_t>(d)), trig(static_cast<size_t>(2 * r));
  for (int64_t t = 0; t < T; t++) {
    angles(static_cast<float>(in<int32_t>(pos)[t]), in<float>(freq), r, trig.data());
    for (int64_t h = 0; h < H; h++) {
      widen(head.data(), in<Act>(x) + (t * H + h) * d, d);
      turn(head.data(), trig.data(), trig.data() + r, r);
      for (int64_t i = 0; i < d; i++) put(out<Act>(y) + (t * H + h) * d + i, head[i]);
    }
  }
  return 0;
}
