#include "cpu/isa.h"

#include <string>

#include "cpu/kernels.h"

namespace treadle::cpu {

namespace {

constexpr std::string_view names[kIsas] = {"scalar", "avx2",    "avx512",
                                           "vnni",   "simd128", "relaxed"};

}  // namespace

std::string_view isa_name(Isa isa) {
  return names[static_cast<size_t>(isa)];
}

Result<Isa> isa_of(std::string_view name) {
  for (size_t i = 0; i < kIsas; ++i) {
    if (names[i] == name) return static_cast<Isa>(i);
  }
  return invalid_request(
      "isa", "is " + std::string(name) + "; give scalar, avx2, avx512, vnni, simd128 or relaxed");
}

Isa best_isa() {
#if defined(__x86_64__)
  // The builtin asks cpuid and, for the wide registers, what the system saves (xgetbv).
  __builtin_cpu_init();
  const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  // F16C is older than AVX2 on every processor made; no builtin of clang 14 names it.
  if (!wide) return Isa::scalar;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return Isa::avx2;
  }
  return __builtin_cpu_supports("avx512vnni") ? Isa::vnni : Isa::avx512;
#elif defined(__wasm__)
  return relaxed_kernels() ? Isa::relaxed : Isa::simd128;  // what this module was built with
#else
  return Isa::scalar;
#endif
}

}  // namespace treadle::cpu
