// Masks applied to logits, over anything with the buffer protocol or DLPack.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_apply(nanobind::module_& module);

}  // namespace treadle
