// Which instruction sets this processor and its system offer.
#pragma once

#include <cstdint>
#include <string_view>

#include "support/result.h"

namespace treadle::cpu {

// Rising: each one can run the code of those before it that this build has.
enum class Isa : uint8_t { scalar, avx2, avx512, vnni, simd128, relaxed };

inline constexpr size_t kIsas = 6;

std::string_view isa_name(Isa isa);
Result<Isa> isa_of(std::string_view name);

// The best one here: the processor has the instructions and the system saves their registers.
Isa best_isa();

}  // namespace treadle::cpu
