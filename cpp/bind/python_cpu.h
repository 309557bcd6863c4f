// The CPU runtime: packed weights, single kernels for tests and benchmarks, and the runner.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_cpu(nanobind::module_& module);
void bind_cpu_runner(nanobind::module_& module);

}  // namespace treadle
