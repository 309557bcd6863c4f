// Clock, words, cache flush and memory comparison for the benchmark's processes.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_timer(nanobind::module_& module);

}  // namespace treadle
