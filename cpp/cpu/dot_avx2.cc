// The kernels for AVX2, FMA and F16C. This file alone is compiled with those instructions, and all
// of its code has internal linkage, so nothing of it runs unless isa.cc allows it.
#include "cpu/kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "cpu/lanes_avx2.h"
#include "cpu/table_body.h"
#endif

namespace treadle::cpu {

const Kernels* avx2_kernels() {
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
  return &table<Avx2Lanes>;
#else
  return nullptr;
#endif
}

}  // namespace treadle::cpu
