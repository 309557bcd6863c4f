// Storage types of tensors.
#pragma once

#include <cstdint>

namespace treadle {

struct bf16 {
  uint16_t bits;
};
using f16 = _Float16;

}  // namespace treadle
