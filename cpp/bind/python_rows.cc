#include "bind/python_rows.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <utility>

namespace nb = nanobind;

namespace treadle {

namespace {

using Int32Rows = nb::ndarray<int32_t, nb::ndim<2>, nb::device::cpu>;

int get_buffer(PyObject* self, Py_buffer* view, int) {
  RowBuffer* rows = nb::inst_ptr<RowBuffer>(self);
  static char format[] = "i";
  view->buf = rows->data.data();
  view->obj = self;
  view->len = static_cast<Py_ssize_t>(rows->data.size() * sizeof(uint32_t));
  view->itemsize = sizeof(uint32_t);
  view->readonly = 0;
  view->ndim = 2;
  view->format = format;
  view->shape = rows->shape;
  view->strides = rows->strides;
  view->suboffsets = nullptr;
  view->internal = nullptr;
  Py_INCREF(self);
  return 0;
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)}, {0, nullptr}};

}  // namespace

MaskRows mask_rows_of(nb::handle object, nb::object& keep) {
  if (nb::isinstance<RowBuffer>(object)) {
    auto* rows = nb::inst_ptr<RowBuffer>(object);
    return {rows->data.data(), rows->shape[0], rows->shape[1], rows->shape[1]};
  }
  if (nb::isinstance<RowView>(object)) return nb::inst_ptr<RowView>(object)->rows;
  Int32Rows array;
  if (!nb::try_cast(object, array, false) || (array.shape(1) > 1 && array.stride(1) != 1)) {
    throw nb::type_error(
        "mask rows: expected a writable CPU buffer of int32 with shape [rows, words] and adjacent "
        "words; mask_rows() makes one");
  }
  keep = nb::cast(array);
  return {reinterpret_cast<uint32_t*>(array.data()), static_cast<int64_t>(array.shape(0)),
          static_cast<int64_t>(array.shape(1)), array.stride(0)};
}

void bind_rows(nb::module_& module) {
  nb::class_<RowBuffer>(module, "MaskRows", nb::type_slots(slots),
                        "Packed masks: int32 [n, ceil(size / 32)], through the buffer protocol.")
      .def(nb::new_([](int64_t rows, int64_t size) {
             if (rows < 0 || size < 1 || rows > (int64_t{1} << 24) || size > (int64_t{1} << 24)) {
               throw nb::value_error("mask rows: rows and size must lie in 0..2^24");
             }
             return new RowBuffer(rows, (size + 31) / 32);
           }),
           nb::arg("rows"), nb::arg("size"))
      .def_prop_ro("shape",
                   [](const RowBuffer& self) { return std::pair(self.shape[0], self.shape[1]); })
      .def("__len__", [](const RowBuffer& self) { return self.shape[0]; });
  nb::class_<RowView>(module, "RowView", "Mask rows of another owner, parsed once.")
      .def(nb::new_([](nb::object rows) {
             auto view = std::make_unique<RowView>();
             view->rows = mask_rows_of(rows, view->keep);
             if (!view->keep.is_valid()) view->keep = std::move(rows);
             return view;
           }),
           nb::arg("rows"))
      .def_prop_ro("shape",
                   [](const RowView& self) { return std::pair(self.rows.rows, self.rows.words); });
}

}  // namespace treadle
