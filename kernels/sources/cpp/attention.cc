// Causal attention over the pages of a pool, any number of queries a sequence
#include "attend.h"
#include "pages.h"

extern "C" int run(const DLTensor* q, const DLTensor* kv, const DLTensor* starts,
                   const DLTensor* lens, const DLTensor* table, const DLTensor* o, void*) {
  using namespace treadle;
  if (!fits<Act>(q, {-1, -1, -1}) || !fits<int32_t>(lens, {-1})) return kBadTensor;
  const int64_t T = q->shape[0], H = q->shape[1], d = q->shape[2], S = lens->shape[0];
  if (!fits<Act>(kv, {-1, 2, -1, -1, d}) || !fits<int32_t>(starts, {S + 1}) ||
      !fits<int32_t>(table, {S, -1}) || !fits<Act>(o, {T, H, d}))
    return kBadTensor;
  const Pool pool{kv->shape[0], kv->shape[2], kv->shape[3], d};
  if (pool.K == 0 || H % pool.K) return kBadTensor;
  const int64_t G = H / pool.K, L = table->shape[1];
  Attention attend({G, d, kScale, kSoftcap});
  Floats lse(static_cast<size_t>(G));
  std::memset(at(o), 0, static_cast<size_t>(T * H * d) * sizeof(Act));
  for (int64_t s = 0; s < S; s++) {
    const int64_t begin = in<int32_t>(starts)[s], end = in<int32_t>(starts)[s + 1];
    const int64_t length = in<int32_t>(lens)[s];
    const int32_t* pages = in<int32_t>(table) + s * L;
    if (begin < 0 || end > T || begin > end || length > L * pool.B) return kBadTensor;
    for (int64_t p = 0; begin < end && p * pool.B < length; p++)
      if (pages[p] < 0 || pages[p] >= pool.P) return kBadTensor;
    for (int64_t t = begin; t < end; t++) {
      const int64_t last = length - (end - t) + 1;
      const int64_t first = kWindow ? std::max<int64_t>(0, last - kWindow) : 0;
      for (int64_t h = 0; h < pool.K; h++) {
        const int64_t row = (t * H + h * G) * d;
        attend(
            in<Act>(q) + row, first, last,
            [&](int64_t j, int which) {
              const int64_t slot = pages[j / pool.B] * pool.B + j % pool.B;
              return in<Act>(kv) + pool.offset(slot, which) + h * d;
            },
            out<Act>(o) + row, lse.data());
      }
    }
  }
  return 0;
}
