#include "cpu/kernels.h"

#include <cmath>

namespace treadle::cpu {

const Kernels* kernels(Isa isa) {
  if (isa > best_isa()) return nullptr;
  switch (isa) {
    case Isa::scalar:
      return scalar_kernels();
    case Isa::avx2:
      return avx2_kernels();
    case Isa::avx512:
      return avx512_kernels();
    case Isa::vnni:
      return vnni_kernels();
    case Isa::simd128:
      return simd128_kernels();
    case Isa::relaxed:
      return relaxed_kernels();
  }
  return nullptr;
}

void rope_table(int32_t position, const float* inv_freq, size_t pairs, float mscale, float* cosines,
                float* sines) {
  for (size_t i = 0; i < pairs; ++i) {
    const float angle = static_cast<float>(position) * inv_freq[i];
    cosines[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * mscale;
    sines[i] = static_cast<float>(std::sin(static_cast<double>(angle))) * mscale;
  }
}

}  // namespace treadle::cpu
