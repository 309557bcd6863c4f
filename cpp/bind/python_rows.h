// Rows of packed masks, as Python sees them.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "grammar/run/rows.h"

namespace treadle {

// Owns [n, words] int32 and offers the buffer protocol, so numpy and torch wrap it without a copy.
class RowBuffer {
 public:
  RowBuffer(int64_t rows, int64_t words)
      : shape{rows, words}, strides{words * 4, 4}, data(static_cast<size_t>(rows * words)) {}

  Py_ssize_t shape[2];
  Py_ssize_t strides[2];
  std::vector<uint32_t> data;
};

// Somebody else's rows, taken apart once: a call that gets a RowView parses no tensor. Holds the
// memory through the buffer protocol or DLPack, so it stays valid; whoever moves the memory of the
// original (torch's set_ or resize_) makes a new view.
struct RowView {
  nanobind::object keep;
  MaskRows rows;
};

// The rows behind a RowBuffer, a RowView, or behind any writable int32 [n, words] buffer or DLPack
// tensor on the CPU. `keep` must outlive the use of the rows.
MaskRows mask_rows_of(nanobind::handle object, nanobind::object& keep);

void bind_rows(nanobind::module_& module);

}  // namespace treadle
