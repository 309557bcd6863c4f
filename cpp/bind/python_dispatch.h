// The short way of a substituted kernel call: guards, a key, a bisection, the call.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_dispatch(nanobind::module_& module);

}  // namespace treadle
