#include "bind/python_apply.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "bind/python_error.h"
#include "bind/python_rows.h"
#include "grammar/run/apply.h"

namespace nb = nanobind;

namespace treadle {

namespace {

using AnyRows = nb::ndarray<nb::device::cpu>;

bool logit_type(const nb::dlpack::dtype& dtype, LogitType& type) {
  if (dtype.lanes != 1) return false;
  const auto code = static_cast<nb::dlpack::dtype_code>(dtype.code);
  if (code == nb::dlpack::dtype_code::Float && dtype.bits == 32) {
    type = LogitType::f32;
  } else if (code == nb::dlpack::dtype_code::Float && dtype.bits == 16) {
    type = LogitType::f16;
  } else if (code == nb::dlpack::dtype_code::Bfloat && dtype.bits == 16) {
    type = LogitType::bf16;
  } else {
    return false;
  }
  return true;
}

// [V] or [n, V] with adjacent elements in a row.
LogitRows logits_of(nb::handle object, AnyRows& keep, std::optional<int64_t> width) {
  LogitRows out;
  const bool good = nb::try_cast(object, keep, false) && keep.ndim() >= 1 && keep.ndim() <= 2 &&
                    logit_type(keep.dtype(), out.type);
  const size_t last = good ? keep.ndim() - 1 : 0;
  if (!good || (keep.shape(last) > 1 && keep.stride(last) != 1)) {
    throw nb::type_error(
        "logits: expected a writable CPU buffer of float32, float16 or bfloat16 with shape [V] or "
        "[rows, V] and adjacent elements");
  }
  out.data = keep.data();
  out.rows = last == 0 ? 1 : static_cast<int64_t>(keep.shape(0));
  out.width = static_cast<int64_t>(keep.shape(last));
  out.stride = last == 0 ? out.width : keep.stride(0);
  if (width && (*width < 0 || *width > out.width)) {
    raise(invalid_request("width", std::to_string(*width) + " of " + std::to_string(out.width) +
                                       " logits; give at most the width of a row"));
  }
  if (width) out.width = *width;
  return out;
}

std::vector<int64_t> rows_or_all(std::optional<std::vector<int64_t>> index, int64_t count) {
  if (index) return std::move(*index);
  std::vector<int64_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

void apply(nb::handle logits_object, nb::handle masks_object,
           std::optional<std::vector<int64_t>> index, std::optional<int64_t> width,
           bool keep_beyond) {
  AnyRows logits_keep;
  nb::object masks_keep;
  LogitRows logits = logits_of(logits_object, logits_keep, width);
  MaskRows masks = mask_rows_of(masks_object, masks_keep);
  const std::vector<int64_t> rows = rows_or_all(std::move(index), logits.rows);
  Status status;
  {
    nb::gil_scoped_release release;
    status = apply_masks(logits, masks, rows, keep_beyond ? Beyond::kept : Beyond::masked);
  }
  if (!status.ok()) raise(status);
}

void apply_ids(nb::handle logits_object, nb::handle table_object, const std::vector<int32_t>& ids,
               nb::handle staging_object, std::optional<std::vector<int64_t>> index,
               std::optional<int64_t> width, bool keep_beyond) {
  AnyRows logits_keep;
  nb::object table_keep;
  nb::object staging_keep;
  LogitRows logits = logits_of(logits_object, logits_keep, width);
  MaskRows table = mask_rows_of(table_object, table_keep);
  MaskRows staging;
  if (!staging_object.is_none()) staging = mask_rows_of(staging_object, staging_keep);
  const std::vector<int64_t> rows = rows_or_all(std::move(index), static_cast<int64_t>(ids.size()));
  Status status;
  {
    nb::gil_scoped_release release;
    status = apply_mask_ids(logits, table, ids, staging, rows,
                            keep_beyond ? Beyond::kept : Beyond::masked);
  }
  if (!status.ok()) raise(status);
}

}  // namespace

void bind_apply(nb::module_& module) {
  module.def("apply_mask", &apply, nb::arg("logits"), nb::arg("rows"),
             nb::arg("index").none() = nb::none(), nb::arg("width").none() = nb::none(),
             nb::arg("keep_beyond") = false, "Minus infinity where the bit of the same row is 0.");
  module.def("apply_mask_ids", &apply_ids, nb::arg("logits"), nb::arg("table"), nb::arg("ids"),
             nb::arg("staging").none() = nb::none(), nb::arg("index").none() = nb::none(),
             nb::arg("width").none() = nb::none(), nb::arg("keep_beyond") = false,
             "The same with rows of a table: -1 is no mask, -2 the staging row at that position.");
}

}  // namespace treadle
