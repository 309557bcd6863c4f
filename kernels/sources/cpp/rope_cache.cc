// Rotary embedding of q and k with cosines and sines from a table [positions, 2r]
#include "turn.h"

namespace treadle {

static void turned(const DLTensor* x, const DLTensor* y, int64_t t, const float* trig, int64_t r) {
  const int64_t heads = x->shape[1], d = x->shape[2];
  Floats head(static_cast<size_t>(d));
  for (int64_t h = 0; h < heads; h++) {
    const int64_t at = (t * heads + h) * d;
    widen(head.data(), in<Act>(x) + at, d);
    turn(head.data(), trig, trig + r, r);
    for (int64_t i = 0; i < d; i++) put(out<Act>(y) + at + i, head[i]);
  }
}

}  // namespace treadle

extern "C" int run(const DLTensor* q, const DLTensor* k, const DLTensor* cache, const DLTensor* pos,
                   const DLTensor* q_out, const DLTensor* k_out, void*) {
  using namespace treadle;
  if (!fits<Act>(q, {-1, -1, -1})) return kBadTensor;
  const int64_t T = q->shape[0], d = q->shape[2];
  if (!fits<Act>(k, {T, -1, d}) || !fits<float>(cache, {-1, -1}) || !fits<int64_t>(pos, {T}) ||
      !fits<Act>(q_out, {T, q->shape[1], d}) || !fits<Act>(k_out, {T, k->shape[1], d}))
    return kBadTensor;
  const int64_t width = cache->shape[1];
  if (width % 2 || width > d) return kBadTensor;
  for (int64_t t = 0; t < T; t++) {
    const int64_t p = in<int64_t>(pos)[t];
    if (p < 0 || p >= cache->shape[0]) return kBadTensor;
    const float* trig = in<float>(cache) + p * width;
    turned(q, q_out, t, trig, width / 2);
    turned(k, k_out, t, trig, width / 2);
  }
  return 0;
}
