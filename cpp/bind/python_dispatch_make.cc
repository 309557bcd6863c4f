#include "bind/python_dispatch.h"

// Needs Python.h before it.
#include <structmember.h>

#include <string>

#include "bind/python_dispatch_object.h"
#include "bind/python_error.h"

namespace nb = nanobind;

namespace treadle {

namespace {

template <class Visit>
int each(Dispatcher& self, Visit visit) {
  for (nb::object* one :
       {&self.tensor, &self.parameter, &self.descriptor, &self.table, &self.state, &self.hit,
        &self.none, &self.fallback, &self.slow, &self.broken, &self.shadowed}) {
    if (const int stop = visit(*one)) return stop;
  }
  for (auto& [cell, slot] : self.host) {
    if (const int stop = visit(cell)) return stop;
  }
  for (auto& [argument, bound] : self.passed) {
    if (const int stop = visit(bound)) return stop;
  }
  return 0;
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  Dispatcher& self = *reinterpret_cast<Dispatcher*>(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self.dict);
  return each(self, [&](nb::object& one) { return one.is_valid() ? visit(one.ptr(), arg) : 0; });
}

// What is held stays until the end, so that a call in the middle of a collection finds a whole
// object. A cycle through here goes through a function or a dict as well, which breaks it.
int clear(PyObject* object) {
  Dispatcher& self = *reinterpret_cast<Dispatcher*>(object);
  Py_CLEAR(self.dict);
  return 0;
}

void release(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  Dispatcher& self = *reinterpret_cast<Dispatcher*>(object);
  if (self.weak != nullptr) PyObject_ClearWeakRefs(object);
  Py_CLEAR(self.dict);
  self.~Dispatcher();
  PyObject_GC_Del(object);
  Py_DECREF(type);
}

PyObject* bind_method(PyObject* self, PyObject* owner, PyObject*) {
  return owner == nullptr || owner == Py_None ? Py_NewRef(self) : PyMethod_New(self, owner);
}

PyTypeObject* dispatcher_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(Dispatcher, call), READONLY, nullptr},
      {"__dictoffset__", T_PYSSIZET, offsetof(Dispatcher, dict), READONLY, nullptr},
      {"__weaklistoffset__", T_PYSSIZET, offsetof(Dispatcher, weak), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_descr_get, reinterpret_cast<void*>(bind_method)},
                                {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(clear)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(release)},
                                {Py_tp_members, members},
                                {0, nullptr}};
  static PyType_Spec spec{"treadle._core.Dispatcher", sizeof(Dispatcher), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                              Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                          slots};
  static PyObject* type = PyType_FromSpec(&spec);
  return reinterpret_cast<PyTypeObject*>(type);
}

size_t slot_of(nb::handle value, size_t count) {
  const int64_t slot = nb::cast<int64_t>(value);
  if (slot < 0 || static_cast<size_t>(slot) >= count) {
    raise(invalid_request("slot", std::to_string(slot) + " of " + std::to_string(count)));
  }
  return static_cast<size_t>(slot);
}

Guarded guard_of(const Dispatcher& self, nb::tuple given) {
  Guarded made{};
  made.position = slot_of(given[0], self.arguments);
  made.steady = nb::cast<bool>(given[1]);
  made.gradient = nb::cast<bool>(given[2]);
  if (self.view_of(nb::object(given[3]).ptr(), &made.like) != 0) throw nb::python_error();
  made.like.device = nb::cast<int32_t>(given[4]);
  made.like.ordinal = nb::cast<int32_t>(given[5]);
  for (nb::handle dim : nb::list(given[6])) {
    made.dims.push_back(nb::cast<int32_t>(dim));
    if (made.dims.back() >= 0) slot_of(nb::int_(made.dims.back() >> 1), self.sizes.size());
  }
  return made;
}

void fill(Dispatcher& self, nb::tuple torch, nb::tuple calls, nb::list guards, nb::list sizes,
          nb::list host, nb::list relations, nb::list key, nb::list passed) {
  self.tensor = torch[0];
  self.parameter = torch[1];
  self.descriptor = torch[2];
  self.table = torch[3];
  const auto* table = static_cast<const ExchangeTable*>(
      PyCapsule_GetPointer(self.table.ptr(), "dlpack_exchange_api"));
  if (table == nullptr) throw nb::python_error();
  if (table->major != 1 || table->view_of == nullptr ||
      Py_TYPE(self.descriptor.ptr()) != &PyGetSetDescr_Type) {
    raise(invalid_request("torch", "has no table of DLPack 1 for plain views; call `slow` itself"));
  }
  const PyGetSetDef* reader =
      reinterpret_cast<PyGetSetDescrObject*>(self.descriptor.ptr())->d_getset;
  self.view_of = table->view_of;
  self.wants_gradient = reader->get;
  self.closure = reader->closure;
  self.state = calls[0];
  self.hit = calls[1];
  self.none = calls[2];
  self.fallback = calls[3];
  self.slow = calls[4];
  self.broken = calls[5];
  self.shadowed = calls[6];
  if (!PyList_Check(self.state.ptr()) || Py_TYPE(self.hit.ptr())->tp_iternext == nullptr ||
      Py_TYPE(self.none.ptr())->tp_iternext == nullptr) {
    raise(invalid_request("calls", "want a list and two counters first"));
  }
  for (nb::handle size : sizes) self.sizes.push_back(nb::cast<int64_t>(size));
  if (self.sizes.size() > kMostSizes || passed.size() > kMostOperands) {
    raise(invalid_request("definition", "has more axes or inputs than fit; call `slow` itself"));
  }
  for (nb::handle one : guards) self.guards.push_back(guard_of(self, nb::cast<nb::tuple>(one)));
  const size_t count = self.sizes.size();
  for (nb::handle one : host) {
    nb::tuple pair = nb::cast<nb::tuple>(one);
    self.host.emplace_back(nb::cast<nb::list>(pair[0]), slot_of(pair[1], count));
  }
  for (nb::handle one : relations) {
    nb::tuple row = nb::cast<nb::tuple>(one);
    self.relations.push_back(
        {slot_of(row[0], count), slot_of(row[1], count), nb::cast<int64_t>(row[2])});
  }
  for (nb::handle one : key) {
    nb::tuple row = nb::cast<nb::tuple>(one);
    const int64_t per = nb::cast<int64_t>(row[2]);
    if (per >= 0) slot_of(row[2], count);
    self.key.push_back(
        {slot_of(row[0], count), nb::cast<int64_t>(row[1]), per, nb::cast<int64_t>(row[3])});
  }
  self.straight = passed.size() == self.arguments;
  for (nb::handle one : passed) {
    nb::tuple row = nb::cast<nb::tuple>(one);
    const int64_t argument = nb::cast<int64_t>(row[0]);
    if (argument >= 0) slot_of(row[0], self.arguments);
    self.straight &= argument == static_cast<int64_t>(self.passed.size());
    self.passed.emplace_back(argument, nb::object(row[1]));
  }
}

nb::object make(nb::tuple torch, nb::tuple calls, size_t arguments, long shadow, nb::list guards,
                nb::list sizes, nb::list host, nb::list relations, nb::list key, nb::list passed) {
  PyTypeObject* type = dispatcher_type();
  if (type == nullptr) throw nb::python_error();
  auto* self = PyObject_GC_New(Dispatcher, type);
  if (self == nullptr) throw nb::python_error();
  const PyObject head = self->ob_base;
  new (self) Dispatcher{};
  self->ob_base = head;
  self->call = dispatch;
  self->arguments = arguments;
  self->shadow = shadow;
  PyObject_GC_Track(reinterpret_cast<PyObject*>(self));
  nb::object made = nb::steal(reinterpret_cast<PyObject*>(self));
  fill(*self, torch, calls, guards, sizes, host, relations, key, passed);
  return made;
}

}  // namespace

void bind_dispatch(nb::module_& module) {
  module.def("dispatcher", &make, nb::arg("torch"), nb::arg("calls"), nb::arg("arguments"),
             nb::arg("shadow"), nb::arg("guards"), nb::arg("sizes"), nb::arg("host"),
             nb::arg("relations"), nb::arg("key"), nb::arg("passed"),
             "A function that calls the kernel of a table where every guard holds, else `slow`.");
}

}  // namespace treadle
