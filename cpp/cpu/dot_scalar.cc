// The kernels in plain C++, for any processor and for wasm.
#include "cpu/lanes_scalar.h"
#include "cpu/table_body.h"

namespace treadle::cpu {

const Kernels* scalar_kernels() {
  return &table<ScalarLanes>;
}

}  // namespace treadle::cpu
