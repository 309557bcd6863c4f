// Grouped-query causal attention over keys that lie one sequence after the other
#include "grouped.h"

extern "C" int run(const DLTensor* q, const DLTensor* k, const DLTensor* v, const DLTensor* qo,
                   const DLTensor* indptr, double scale, const DLTensor* output,
                   const DLTensor* lse, void*) {
  using namespace treadle;
  if (!fits<Act>(q, {-1, -1, -1}) || !fits<Act>(k, {-1, -1, q->shape[2]}) ||
      !fits<int32_t>(qo, {-1}))
    return kBadTensor;
  const int64_t N = k->shape[0], S = qo->shape[0] - 1;
  const Batch b{q, output, lse, q->shape[1], k->shape[1], q->shape[2], static_cast<float>(scale)};
  if (S < 0 || !fits<Act>(v, {N, b.K, b.d}) || !fits<int32_t>(indptr, {S + 1}) || !batch_fits(b))
    return kBadTensor;
  Attention attend({b.H / b.K, b.d, b.scale, 0});
  cleared(b);
  for (int64_t s = 0; s < S; s++) {
    const int64_t first = in<int32_t>(qo)[s], last = in<int32_t>(qo)[s + 1];
    const int64_t begin = in<int32_t>(indptr)[s], end = in<int32_t>(indptr)[s + 1];
    if (first < 0 || last > q->shape[0] || begin < 0 || begin > end || end > N) return kBadTensor;
    sequence(b, attend, first, last, end - begin, [&](int64_t j, int which, int64_t h) {
      return in<Act>(which ? v : k) + ((begin + j) * b.K + h) * b.d;
    });
  }
  return 0;
}
