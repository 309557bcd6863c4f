#include <algorithm>
#include <array>

#include "bind/python_dispatch_object.h"

namespace nb = nanobind;

namespace treadle {

namespace {

bool contiguous(const TensorView& view) {
  if (view.strides == nullptr) return true;
  int64_t expected = 1;
  bool plain = true;
  for (int32_t i = view.rank - 1; i >= 0; --i) {
    if (view.shape[i] == 0) return true;
    if (view.shape[i] != 1 && view.strides[i] != expected) plain = false;
    expected *= view.shape[i];
  }
  return plain;
}

// Sets or compares the sizes that an operand shows.
bool agree(const Guarded& guard, const int64_t* shape, int64_t* sizes) {
  for (size_t i = 0; i < guard.dims.size(); ++i) {
    const int32_t dim = guard.dims[i];
    if (dim < 0) continue;
    if (dim & 1) {
      if (sizes[dim >> 1] != shape[i]) return false;
    } else {
      sizes[dim >> 1] = shape[i];
    }
  }
  return true;
}

bool remembered(const Guarded& guard, PyObject* value) {
  if (!guard.known.is_valid()) return false;
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* alive = nullptr;
  if (PyWeakref_GetRef(guard.known.ptr(), &alive) <= 0) return false;
  Py_DECREF(alive);
  return alive == value;
#else
  return PyWeakref_GET_OBJECT(guard.known.ptr()) == value;
#endif
}

// Whether an operand fits; false with or without an exception.
bool admits(const Dispatcher& self, Guarded& guard, PyObject* value, int64_t* sizes) {
  if (remembered(guard, value)) return agree(guard, guard.known_sizes.data(), sizes);
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(value));
  if (type != self.tensor.ptr() && !(guard.steady && type == self.parameter.ptr())) return false;
  if (guard.gradient) {
    PyObject* wants = self.wants_gradient(value, self.closure);
    if (wants == nullptr) return false;
    Py_DECREF(wants);
    if (wants != Py_False) return false;
  }
  TensorView view;
  if (self.view_of(value, &view) != 0) return false;
  const TensorView& like = guard.like;
  if (view.code != like.code || view.bits != like.bits || view.lanes != like.lanes) return false;
  if (view.device != like.device || view.ordinal != like.ordinal) return false;
  if (static_cast<size_t>(view.rank) != guard.dims.size()) return false;
  if (!agree(guard, view.shape, sizes) || !contiguous(view)) return false;
  if (guard.steady && guard.last == value) {
    PyObject* weak = PyWeakref_NewRef(value, nullptr);
    if (weak == nullptr) return false;
    guard.known = nb::steal(weak);
    guard.known_sizes.assign(view.shape, view.shape + view.rank);
  }
  guard.last = value;
  return true;
}

// The child of a node for one coordinate: what `bisect` finds right of its equals.
PyObject* child(PyObject* node, double at) {
  PyObject* bounds = PyTuple_GET_ITEM(node, 0);
  Py_ssize_t low = 0, high = PyTuple_GET_SIZE(bounds);
  while (low < high) {
    const Py_ssize_t middle = (low + high) / 2;
    if (at < PyFloat_AS_DOUBLE(PyTuple_GET_ITEM(bounds, middle))) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return PyTuple_GET_ITEM(PyTuple_GET_ITEM(node, 1), low);
}

// The kernel for these arguments or None, borrowed; null where `slow` has to look.
PyObject* choice(Dispatcher& self, PyObject* const* given) {
  std::array<int64_t, kMostSizes> sizes;
  std::copy(self.sizes.begin(), self.sizes.end(), sizes.begin());
  for (const auto& [cell, slot] : self.host) {
    if (PyList_GET_SIZE(cell.ptr()) == 0) return nullptr;
    sizes[slot] = PyLong_AsLongLong(PyList_GET_ITEM(cell.ptr(), 0));
    if (sizes[slot] < 0) return nullptr;
  }
  for (Guarded& guard : self.guards) {
    if (!admits(self, guard, given[guard.position], sizes.data())) return nullptr;
  }
  for (const Relation& one : self.relations) {
    if (sizes[one.slot] != sizes[one.other] + one.more) return nullptr;
  }
  PyObject* node = PyList_GET_ITEM(self.state.ptr(), 0);
  if (self.key.empty()) return child(node, 1.0);
  for (const Coordinate& one : self.key) {
    double at = static_cast<double>(sizes[one.slot] - one.less);
    if (one.per >= 0) {
      const int64_t per = sizes[one.per] - one.per_less;
      if (per <= 0) return nullptr;
      at /= static_cast<double>(per);
    }
    node = child(node, at);
  }
  return node;
}

// Advances an itertools.count; what it held, or -1 with an exception.
long counted(const nb::object& counter) {
  PyObject* now = Py_TYPE(counter.ptr())->tp_iternext(counter.ptr());
  if (now == nullptr) return -1;
  const long value = PyLong_AsLong(now);
  Py_DECREF(now);
  return value;
}

PyObject* tuple_of(PyObject* const* items, size_t count) {
  PyObject* made = PyTuple_New(static_cast<Py_ssize_t>(count));
  for (size_t i = 0; made != nullptr && i < count; ++i) {
    PyTuple_SET_ITEM(made, static_cast<Py_ssize_t>(i), Py_NewRef(items[i]));
  }
  return made;
}

// Hands the exception of a kernel to `broken`, which opens its breaker and answers.
PyObject* mend(const Dispatcher& self, PyObject* kernel, PyObject* const* given) {
#if PY_VERSION_HEX >= 0x030C0000
  PyObject* error = PyErr_GetRaisedException();
#else
  PyObject *type, *error, *trace;
  PyErr_Fetch(&type, &error, &trace);
  PyErr_NormalizeException(&type, &error, &trace);
  if (trace != nullptr) PyException_SetTraceback(error, trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
#endif
  PyObject* all = tuple_of(given, self.arguments);
  PyObject* answer = nullptr;
  if (all != nullptr) {
    answer = PyObject_CallFunctionObjArgs(self.broken.ptr(), kernel, error, all, nullptr);
  }
  Py_XDECREF(all);
  Py_XDECREF(error);
  return answer;
}

}  // namespace

PyObject* dispatch(PyObject* object, PyObject* const* given, size_t flags, PyObject* names) {
  Dispatcher& self = *reinterpret_cast<Dispatcher*>(object);
  const size_t count = static_cast<size_t>(PyVectorcall_NARGS(flags));
  PyObject* kernel = nullptr;
  if (names == nullptr && count == self.arguments) kernel = choice(self, given);
  if (kernel == nullptr) {
    PyErr_Clear();  // a tensor that DLPack cannot describe
    return PyObject_Vectorcall(self.slow.ptr(), given, flags, names);
  }
  if (kernel == Py_None) {
    if (counted(self.none) < 0) return nullptr;
    return PyObject_Vectorcall(self.fallback.ptr(), given, count, nullptr);
  }
  const nb::object kept = nb::borrow(kernel);  // a swap may drop it while it works
  const long turn = counted(self.hit);
  if (turn < 0) return nullptr;
  std::array<PyObject*, kMostOperands> whole;
  PyObject* const* operands = given;
  size_t passed = count;
  if (!self.straight) {
    passed = self.passed.size();
    for (size_t i = 0; i < passed; ++i) {
      const auto& [argument, bound] = self.passed[i];
      whole[i] = argument < 0 ? bound.ptr() : given[argument];
    }
    operands = whole.data();
  }
  if (self.shadow != 0 && turn % self.shadow == 0) {
    PyObject* all = tuple_of(operands, passed);
    if (all == nullptr) return nullptr;
    PyObject* answer = PyObject_CallFunctionObjArgs(self.shadowed.ptr(), kernel, all, nullptr);
    Py_DECREF(all);
    return answer;
  }
  PyObject* answer = PyObject_Vectorcall(kernel, operands, passed, nullptr);
  if (answer == nullptr && PyErr_ExceptionMatches(PyExc_Exception)) {
    return mend(self, kernel, given);
  }
  return answer;
}

}  // namespace treadle
