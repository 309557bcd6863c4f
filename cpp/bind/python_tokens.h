// Vocabularies and decoding of token strings.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_tokens(nanobind::module_& module);

}  // namespace treadle
