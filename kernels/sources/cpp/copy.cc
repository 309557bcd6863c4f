// The same elements under the output's own shape: `view`, and `allreduce` of a group of one.
#include "tensor.h"

extern "C" int run(const DLTensor* x, const DLTensor* y, void*) {
  return treadle::map(x, y, [](float a) { return a; });
}
