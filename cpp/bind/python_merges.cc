#include "bind/python_merges.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bind/python_error.h"
#include "tokens/merges.h"
#include "tokens/packed_strings.h"

namespace nb = nanobind;

namespace treadle {

namespace {

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Symbols = nb::ndarray<const uint32_t, nb::shape<128>, nb::c_contig, nb::device::cpu>;

Merges* merges_of(const Bytes& rows, uint32_t ids) {
  const auto* first = reinterpret_cast<const char*>(rows.data());
  return new Merges(unwrap(Merges::make({first, rows.size()}, ids)));
}

std::vector<uint32_t> apply(const Merges& self, const std::vector<uint32_t>& ids,
                            const std::vector<uint32_t>& words) {
  if (ids.size() != words.size()) {
    raise(invalid_request("words", "must say of each id which word it is of"));
  }
  const nb::gil_scoped_release release;
  std::vector<uint32_t> out;
  for (size_t first = 0; first < ids.size();) {
    size_t end = first + 1;
    while (end < ids.size() && words[end] == words[first]) ++end;
    self.apply(std::span(ids).subspan(first, end - first), out);
    first = end;
  }
  return out;
}

std::vector<uint32_t> encode_ascii(const Merges& self, std::string_view text, std::string_view cut,
                                   const Symbols& symbols) {
  const std::optional<AsciiCut> found = ascii_cut(cut);
  if (!found) raise(invalid_request("cut", "has no pattern for ASCII: " + std::string(cut)));
  std::array<uint32_t, 128> ids;
  std::memcpy(ids.data(), symbols.data(), sizeof ids);
  const nb::gil_scoped_release release;
  std::vector<uint32_t> out;
  out.reserve(text.size() / 4);
  self.encode_ascii(text, *found, ids, out);
  return out;
}

std::optional<size_t> strings_end(const Bytes& data, size_t at, size_t count, size_t most) {
  return packed_strings_end({reinterpret_cast<const char*>(data.data()), data.size()}, at, count,
                            most);
}

}  // namespace

void bind_merges(nb::module_& module) {
  nb::class_<Merges>(module, "Merges", "The merges of a byte-pair vocabulary.")
      .def(nb::new_([](const Bytes& rows, uint32_t ids) { return merges_of(rows, ids); }),
           nb::arg("rows"), nb::arg("ids"),
           "rows: bytes of (left, right, rank, joined), four uint32 each, ascending.")
      .def("__len__", &Merges::size)
      .def("apply", &apply, nb::arg("ids"), nb::arg("words"),
           "Merges symbols; neighbours with the same number in `words` are of one word.")
      .def("encode_ascii", &encode_ascii, nb::arg("text"), nb::arg("cut"), nb::arg("symbols"),
           "Ids of an ASCII text, cut as the pre-tokeniser of that name does; symbols [128].");
  module.def("strings_end", &strings_end, nb::arg("data"), nb::arg("at"), nb::arg("count"),
             nb::arg("most"),
             "Where so many GGUF strings end; None if one is too long, cut off or not UTF-8.");
}

}  // namespace treadle
