// The kernels for AVX-512 with VNNI. This file alone is compiled with those instructions, and all
// of its code has internal linkage, so nothing of it runs unless isa.cc allows it.
#include "cpu/kernels.h"

#if defined(__AVX512VNNI__)
#include "cpu/lanes_avx512.h"
#include "cpu/table_body.h"
#endif

namespace treadle::cpu {

const Kernels* vnni_kernels() {
#if defined(__AVX512VNNI__)
  return &table<Avx512Lanes>;
#else
  return nullptr;
#endif
}

}  // namespace treadle::cpu
