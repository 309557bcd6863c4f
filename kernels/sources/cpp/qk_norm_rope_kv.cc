// Attention's prologue without head norms: q and k rotated, k and v written into their slots
#include "angles.h"
#include "pages.h"
#include "turn.h"

extern "C" int run(const DLTensor* q, const DLTensor* k, const DLTensor* v, const DLTensor* pos,
                   const DLTensor* freq, const DLTensor* kv, const DLTensor* slots,
                   const DLTensor* turned, const DLTensor* next, void*) {
  using namespace treadle;
  Pool pool;
  if (!fits<Act>(q, {-1, -1, -1}) || !fits<float>(freq, {-1}) || !copied(kv, next, &pool))
    return kBadTensor;
  const int64_t T = q->shape[0], H = q->shape[1], d = pool.d, r = freq->shape[0];
  if (q->shape[2] != d || 2 * r > d || !fits<Act>(k, {T, pool.K, d}) ||
      !fits<Act>(v, {T, pool.K, d}) || !fits<int32_t>(pos, {T}) || !fits<int32_t>(slots, {T}) ||
      !fits<Act>(turned, {T, H, d}))
    return kBadTensor;
  Floats head(static_cast<size_t>(d)), trig(static_cast<size_t>(2 * r));
  for (int64_t t = 0; t < T; t++) {
    const int64_t slot = in<int32_t>(slots)[t];
    if (!pool.has(slot)) return kBadTensor;
    angles(static_cast<float>(in<int32_t>(pos)[t]), in<float>(freq), r, trig.data());
    for (int64_t h = 0; h < H + pool.K; h++) {
      const bool query = h < H;
      const Act* from =
          query ? in<Act>(q) + (t * H + h) * d : in<Act>(k) + (t * pool.K + h - H) * d;
      Act* to = query ? out<Act>(turned) + (t * H + h) * d
                      : out<Act>(next) + pool.offset(slot, 0) + (h - H) * d;
      widen(head.data(), from, d);
      turn(head.data(), trig.data(), trig.data() + r, r);
      for (int64_t i = 0; i < d; i++) put(to + i, head[i]);
    }
    std::memcpy(out<Act>(next) + pool.offset(slot, 1), in<Act>(v) + t * pool.K * d,
                static_cast<size_t>(pool.K * d) * sizeof(Act));
  }
  return 0;
}
