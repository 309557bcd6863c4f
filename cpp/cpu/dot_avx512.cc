// The kernels for AVX-512 F, BW, VL, DQ. This file alone is compiled with those instructions, and
// all of its code has internal linkage, so nothing of it runs unless isa.cc allows it.
#include "cpu/kernels.h"

#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "cpu/lanes_avx512.h"
#include "cpu/table_body.h"
#endif

namespace treadle::cpu {

const Kernels* avx512_kernels() {
#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
  return &table<Avx512Lanes>;
#else
  return nullptr;
#endif
}

}  // namespace treadle::cpu
