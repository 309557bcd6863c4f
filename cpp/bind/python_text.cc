#include "bind/python_text.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind/python_error.h"
#include "bind/python_merges.h"
#include "tokens/detok.h"
#include "tokens/stop.h"

namespace nb = nanobind;

namespace treadle {
namespace {

std::shared_ptr<TokenBytes> token_bytes(const nb::sequence& table) {
  auto out = std::make_shared<TokenBytes>();
  out->reserve(nb::len(table), 8 * nb::len(table));
  for (nb::handle item : table) {
    if (!nb::isinstance<nb::bytes>(item)) {
      throw nb::type_error("a token table holds bytes, one object for each id");
    }
    auto bytes = nb::borrow<nb::bytes>(item);
    out->add({bytes.c_str(), bytes.size()});
  }
  return out;
}

using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

TokenBytes joined(const Bytes& text, const Bytes& ends) {
  std::vector<uint32_t> read(ends.size() / sizeof(uint32_t));
  if (!read.empty()) std::memcpy(read.data(), ends.data(), read.size() * sizeof(uint32_t));
  const auto* first = reinterpret_cast<const char*>(text.data());
  return unwrap(TokenBytes::make({first, text.size()}, read));
}

// With another table or any sequence of bytes.
bool same_bytes(const TokenBytes& self, const nb::object& other) {
  if (!nb::hasattr(other, "__len__") || nb::len(other) != self.size()) return false;
  uint32_t id = 0;
  for (nb::handle item : other) {
    const std::string_view bytes = self.at(id++);
    if (!nb::bytes(bytes.data(), bytes.size()).equal(item)) return false;
  }
  return true;
}

std::shared_ptr<StopStrings> stop_strings(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    if (stop.empty()) throw nb::value_error("a stop string is empty; leave it out");
  }
  return std::make_shared<StopStrings>(stops);
}

void bind_detok(nb::module_& module) {
  nb::class_<TokenBytes>(module, "TokenBytes",
                         "The bytes of every token id, shared by all detokenisers of a model.")
      .def(nb::new_([](const nb::sequence& table) { return token_bytes(table); }), nb::arg("table"))
      .def_static("joined", &joined, nb::arg("text"), nb::arg("ends"),
                  "Of bytes one behind another; ends: where each id's end, uint32, as bytes.")
      .def("without", &TokenBytes::without, nb::arg("ids"),
           "The same memory, in which these ids spell nothing.")
      .def("__len__", &TokenBytes::size)
      .def("__getitem__",
           [](const TokenBytes& self, int64_t id) {
             const auto count = static_cast<int64_t>(self.size());
             if (id < 0) id += count;
             if (id < 0 || id >= count) throw nb::index_error("no such token id");
             std::string_view bytes = self.at(static_cast<uint32_t>(id));
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def("__eq__", &same_bytes, nb::arg("other"));
  nb::class_<Detokeniser>(module, "Detokeniser",
                          "Token ids to text; only whole characters are emitted. One a sequence.")
      .def(nb::new_([](std::shared_ptr<TokenBytes> table, bool strip_space) {
             return new Detokeniser(std::move(table), strip_space);
           }),
           nb::arg("table"), nb::arg("strip_space") = false)
      .def(nb::new_([](const nb::sequence& table, bool strip_space) {
             return new Detokeniser(token_bytes(table), strip_space);
           }),
           nb::arg("table"), nb::arg("strip_space") = false)
      .def(
          "push",
          [](Detokeniser& self, const std::vector<uint32_t>& ids) {
            std::string out;
            self.push(ids, out);
            return out;
          },
          nb::arg("ids"), "The text that these ids complete.")
      .def(
          "flush",
          [](Detokeniser& self) {
            std::string out;
            self.flush(out);
            return out;
          },
          "Ends the text; an unfinished character becomes U+FFFD.")
      .def("fork", [](const Detokeniser& self) { return Detokeniser(self); });
}

void bind_stop(nb::module_& module) {
  nb::class_<StopSearch>(module, "StopSearch",
                         "Finds stop strings in text that comes in pieces. One a sequence.")
      .def(nb::new_([](const std::vector<std::string>& stops) {
             return new StopSearch(stop_strings(stops));
           }),
           nb::arg("stops"))
      .def(
          "push",
          [](StopSearch& self, const std::string& text) {
            std::string out;
            std::optional<std::string_view> hit = self.push(text, out);
            return std::pair(out, hit ? std::optional(std::string(*hit)) : std::nullopt);
          },
          nb::arg("text"), "The text that may be emitted, and the stop string once it is complete.")
      .def(
          "flush",
          [](StopSearch& self) {
            std::string out;
            self.flush(out);
            return out;
          },
          "Ends the text; returns what was held back.")
      .def_prop_ro("stopped", &StopSearch::stopped)
      .def("fork", [](const StopSearch& self) { return StopSearch(self); });
}

}  // namespace

void bind_text(nb::module_& module) {
  bind_detok(module);
  bind_stop(module);
  bind_merges(module);
}

}  // namespace treadle
