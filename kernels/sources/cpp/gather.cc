// y[i] = x[rows[i]]: `take`, and `embed` of a table.
#include "tensor.h"

extern "C" int run(const DLTensor* x, const DLTensor* rows, const DLTensor* y, void*) {
  using namespace treadle;
  if (!fits<Act>(x, {-1, -1}) || !fits<int32_t>(rows, {-1})) return kBadTensor;
  const int64_t N = x->shape[0], D = x->shape[1], R = rows->shape[0];
  if (!fits<Act>(y, {R, D})) return kBadTensor;
  for (int64_t i = 0; i < R; i++) {
    const int64_t row = in<int32_t>(rows)[i];
    if (row < 0 || row >= N) return kBadTensor;
    std::memcpy(out<Act>(y) + i * D, in<Act>(x) + row * D, static_cast<size_t>(D) * sizeof(Act));
  }
  return 0;
}
