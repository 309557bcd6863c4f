#include "bind/python_error.h"

namespace nb = nanobind;

namespace treadle {

namespace {

PyObject* error_type = nullptr;  // lives as long as the interpreter

void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const CoreFailure& failure) {
    nb::object error = core_error(failure.status, failure.kind);
    PyErr_SetObject(error_type, error.ptr());
  }
}

}  // namespace

nb::object core_error(const Status& status, const std::string& kind) {
  std::string message = status.at.empty() ? status.text : status.at + ": " + status.text;
  nb::object error = nb::borrow(error_type)(message.c_str());
  error.attr("code") = std::string(code_name(status.code)).c_str();
  error.attr("reason") = std::string(reason_name(status.reason)).c_str();
  error.attr("kind") = kind.c_str();
  error.attr("at") = status.at.c_str();
  error.attr("keyword") = status.keyword.c_str();
  error.attr("text") = status.text.c_str();
  error.attr("limit") = status.limit.c_str();
  error.attr("value") = status.value;
  error.attr("maximum") = status.maximum;
  return error;
}

void bind_errors(nb::module_& module) {
  error_type = PyErr_NewExceptionWithDoc(
      "treadle._core.CoreError",
      "What went wrong in the core: code, reason, kind, at, keyword, text, limit, value, maximum.",
      PyExc_Exception, nullptr);
  if (!error_type) throw nb::python_error();
  module.attr("CoreError") = nb::borrow(error_type);
  nb::register_exception_translator(translate, nullptr);
}

}  // namespace treadle
