// Grammars, compilers, matchers and batches.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_grammar(nanobind::module_& module);
void bind_matcher(nanobind::module_& module);

}  // namespace treadle
