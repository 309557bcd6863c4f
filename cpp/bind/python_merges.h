// What makes a tokeniser start fast: merges read as they lie on disk, vocabularies stepped over.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_merges(nanobind::module_& module);

}  // namespace treadle
