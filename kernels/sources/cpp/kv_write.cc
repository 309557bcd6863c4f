// Keys and values of new tokens written into their slots
#include "pages.h"

extern "C" int run(const DLTensor* kv, const DLTensor* k, const DLTensor* v, const DLTensor* slots,
                   const DLTensor* next, void*) {
  using namespace treadle;
  Pool pool;
  if (!fits<int32_t>(slots, {-1}) || !copied(kv, next, &pool)) return kBadTensor;
  const int64_t T = slots->shape[0], row = pool.K * pool.d;
  if (!fits<Act>(k, {T, pool.K, pool.d}) || !fits<Act>(v, {T, pool.K, pool.d})) return kBadTensor;
  for (int64_t t = 0; t < T; t++) {
    const int64_t slot = in<int32_t>(slots)[t];
    if (!pool.has(slot)) return kBadTensor;
    const size_t bytes = static_cast<size_t>(row) * sizeof(Act);
    std::memcpy(out<Act>(next) + pool.offset(slot, 0), in<Act>(k) + t * row, bytes);
    std::memcpy(out<Act>(next) + pool.offset(slot, 1), in<Act>(v) + t * row, bytes);
  }
  return 0;
}
