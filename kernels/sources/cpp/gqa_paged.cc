// Grouped-query attention over pages: one query a sequence (`run_decode…`) or several, causal
// (`run_prefill…`); `…_last` where pages hold more than one token.
#include "grouped.h"

namespace treadle {

struct Pages {
  const DLTensor *k, *v, *indptr, *indices, *last;
};

static int paged(const DLTensor* q, const Pages& p, const DLTensor* qo, double scale,
                 const DLTensor* output, const DLTensor* lse) {
  if (!fits<Act>(q, {-1, -1, -1}) || !fits<int32_t>(p.indptr, {-1}) ||
      !fits<int32_t>(p.indices, {-1}) || !fits<Act>(p.k, {-1, -1, -1, q->shape[2]}))
    return kBadTensor;
  const int64_t *shape = p.k->shape, P = shape[0], page = shape[1];
  const Batch b{q, output, lse, q->shape[1], shape[2], shape[3], static_cast<float>(scale)};
  const int64_t S = p.indptr->shape[0] - 1, N = p.indices->shape[0], rows = q->shape[0];
  if (S < 0 || !fits<Act>(p.v, {P, page, b.K, b.d}) || !batch_fits(b) ||
      (qo ? !fits<int32_t>(qo, {S + 1}) : rows != S) ||
      (p.last && (!fits<int32_t>(p.last, {-1}) || p.last->shape[0] < S)) || (!p.last && page != 1))
    return kBadTensor;
  Attention attend({b.H / b.K, b.d, b.scale, 0});
  cleared(b);
  for (int64_t s = 0; s < S; s++) {
    const int64_t begin = in<int32_t>(p.indptr)[s], end = in<int32_t>(p.indptr)[s + 1];
    const int64_t first = qo ? in<int32_t>(qo)[s] : s, last = qo ? in<int32_t>(qo)[s + 1] : s + 1;
    if (begin >= end) continue;
    if (begin < 0 || end > N || first < 0 || last > rows) return kBadTensor;
    const int32_t* pages = in<int32_t>(p.indices) + begin;
    for (int64_t i = 0; i < end - begin; i++)
      if (pages[i] < 0 || pages[i] >= P) return kBadTensor;
    const int64_t tail = p.last ? in<int32_t>(p.last)[s] : 1;
    if (tail < 0 || tail > page) return kBadTensor;
    sequence(b, attend, first, last, (end - begin - 1) * page + tail,
             [&](int64_t j, int which, int64_t h) {
               const int64_t slot = pages[j / page] * page + j % page;
               return in<Act>(which ? p.v : p.k) + (slot * b.K + h) * b.d;
             });
  }
  return 0;
}

}  // namespace treadle

extern "C" int run_decode(const DLTensor* q, const DLTensor* k, const DLTensor* v,
                          const DLTensor* indptr, const DLTensor* indices, double scale,
                          const DLTensor* output, const DLTensor* lse, void*) {
  return treadle::paged(q, {k, v, indptr, indices, nullptr}, nullptr, scale, output, lse);
}

extern "C" int run_decode_last(const DLTensor* q, const DLTensor* k, const DLTensor* v,
                               const DLTensor* indptr, const DLTensor* indices,
                               const DLTensor* last, double scale, const DLTensor* output,
                               const DLTensor* lse, void*) {
  return treadle::paged(q, {k, v, indptr, indices, last}, nullptr, scale, output, lse);
}

extern "C" int run_prefill(const DLTensor* q, const DLTensor* k, const DLTensor* v,
                           const DLTensor* qo, const DLTensor* indptr, const DLTensor* indices,
                           double scale, const DLTensor* output, const DLTensor* lse, void*) {
  return treadle::paged(q, {k, v, indptr, indices, nullptr}, qo, scale, output, lse);
}

extern "C" int run_prefill_last(const DLTensor* q, const DLTensor* k, const DLTensor* v,
                                const DLTensor* qo, const DLTensor* indptr, const DLTensor* indices,
                                const DLTensor* last, double scale, const DLTensor* output,
                                const DLTensor* lse, void*) {
  return treadle::paged(q, {k, v, indptr, indices, last}, qo, scale, output, lse);
}
