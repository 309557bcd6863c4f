// y = x * by
#include "tensor.h"

extern "C" int run(const DLTensor* x, const DLTensor* y, void*) {
  return treadle::map(x, y, [](float a) { return a * treadle::kBy; });
}
