#include "bind/python_tokens.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/python_error.h"
#include "tokens/decode.h"
#include "tokens/vocab.h"

namespace nb = nanobind;

namespace treadle {

namespace {

std::string_view view_of(nb::handle item, const char* what) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_Check(item.ptr())) {
    PyBytes_AsStringAndSize(item.ptr(), &data, &size);
    return {data, static_cast<size_t>(size)};
  }
  const char* text =
      PyUnicode_Check(item.ptr()) ? PyUnicode_AsUTF8AndSize(item.ptr(), &size) : nullptr;
  if (text) return {text, static_cast<size_t>(size)};
  if (PyErr_Occurred()) throw nb::python_error();
  throw nb::type_error(what);
}

// The views point into the objects of `data`, which the caller's tuple keeps alive.
std::shared_ptr<const Vocab> make_vocab(const nb::tuple& data, const std::vector<uint8_t>& kinds,
                                        const std::vector<uint32_t>& stop_ids, uint32_t size) {
  if (nb::len(data) != kinds.size()) {
    raise(invalid_request("vocab", std::to_string(nb::len(data)) + " tokens but " +
                                       std::to_string(kinds.size()) + " kinds; give one a token"));
  }
  std::vector<TokenSpec> specs;
  specs.reserve(kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] > static_cast<uint8_t>(TokenKind::unused)) {
      raise(
          invalid_request("vocab.kinds", std::to_string(kinds[i]) + " is no token kind; use 0-3"));
    }
    specs.push_back({.bytes = view_of(data[i], "vocab: a token is bytes"),
                     .kind = static_cast<TokenKind>(kinds[i])});
  }
  VocabOptions options;
  options.size = size;
  options.stop_ids = stop_ids;
  Result<VocabRef> vocab = [&] {
    nb::gil_scoped_release release;
    return Vocab::build(specs, options);
  }();
  return unwrap(std::move(vocab));
}

nb::list decode_vocab(const nb::sequence& pieces, const std::string& name) {
  PieceKind kind = unwrap(piece_kind(name));
  nb::list out;
  for (nb::handle piece : pieces) {
    bool is_byte = false;
    std::string bytes =
        decode_piece(view_of(piece, "decode_vocab: a piece is str or bytes"), kind, is_byte);
    out.append(nb::make_tuple(nb::bytes(bytes.data(), bytes.size()), is_byte));
  }
  return out;
}

}  // namespace

void bind_tokens(nb::module_& module) {
  nb::class_<Vocab>(module, "Vocab", "Bytes and kinds of all tokens, and the trie over them.")
      .def(nb::new_([](const nb::tuple& data, const std::vector<uint8_t>& kinds,
                       const std::vector<uint32_t>& stop_ids, uint32_t size) {
             return std::const_pointer_cast<Vocab>(make_vocab(data, kinds, stop_ids, size));
           }),
           nb::arg("data"), nb::arg("kinds"), nb::arg("stop_ids"), nb::arg("size") = 0)
      .def_prop_ro("size", &Vocab::size)
      .def_prop_ro("hash", [](const Vocab& self) { return self.hash(); })
      .def_prop_ro("stop_ids",
                   [](const Vocab& self) {
                     return std::vector<uint32_t>(self.stop_ids().begin(), self.stop_ids().end());
                   })
      .def_prop_ro("trie_nodes", [](const Vocab& self) { return self.trie().nodes().size(); });
  module.def("decode_vocab", &decode_vocab, nb::arg("pieces"), nb::arg("kind"),
             "The bytes of each piece, and whether it is one <0xNN> byte.");
}

}  // namespace treadle
