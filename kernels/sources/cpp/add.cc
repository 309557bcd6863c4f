// z = x + y
#include "tensor.h"

extern "C" int run(const DLTensor* x, const DLTensor* y, const DLTensor* z, void*) {
  return treadle::map(x, y, z, [](float a, float b) { return a + b; });
}
