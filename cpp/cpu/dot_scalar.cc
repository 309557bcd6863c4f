// The kernels in plain C++, for any processor. WebAssembly has others, and no room for these.
#include "cpu/kernels.h"

#if !defined(__wasm__)
#include "cpu/lanes_scalar.h"
#include "cpu/table_body.h"
#endif

namespace treadle::cpu {

const Kernels* scalar_kernels() {
#if defined(__wasm__)
  return nullptr;
#else
  return &table<ScalarLanes>;
#endif
}

}  // namespace treadle::cpu
