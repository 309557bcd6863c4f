// The kernels for WebAssembly's 128-bit vectors, which every browser has. A module
// holds these or those of dot_relaxed.cc.
#include "cpu/kernels.h"

#if defined(__wasm_simd128__) && !defined(__wasm_relaxed_simd__)
#include "cpu/large_simd128.h"
#include "cpu/table_body.h"
#endif

namespace treadle::cpu {

const Kernels* simd128_kernels() {
#if defined(__wasm_simd128__) && !defined(__wasm_relaxed_simd__)
  static constexpr Kernels found = with_large(with_small<WideDots>(table<Simd128Lanes>));
  return &found;
#else
  return nullptr;
#endif
}

}  // namespace treadle::cpu
