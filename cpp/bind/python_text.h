// The text half of the extension: detokeniser and stop search.
#pragma once

#include <nanobind/nanobind.h>

namespace treadle {

void bind_text(nanobind::module_& module);

}  // namespace treadle
