// Statuses of the core as the Python exception _core.CoreError.
#pragma once

#include <nanobind/nanobind.h>

#include <string>
#include <utility>

#include "support/result.h"

namespace treadle {

// Thrown by the bindings only; `kind` is the source language, if there is one.
struct CoreFailure {
  Status status;
  std::string kind;
};

[[noreturn]] inline void raise(Status status, std::string kind = "grammar") {
  throw CoreFailure{std::move(status), std::move(kind)};
}

template <class T>
T unwrap(Result<T> result, const std::string& kind = "grammar") {
  if (!result.ok()) raise(result.status(), kind);
  return result.take();
}

// An instance of CoreError with the fields of `status` as attributes.
nanobind::object core_error(const Status& status, const std::string& kind);

void bind_errors(nanobind::module_& module);

}  // namespace treadle
