#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bind/python_error.h"
#include "bind/python_grammar.h"
#include "bind/python_rows.h"
#include "grammar/run/batch.h"

namespace nb = nanobind;

namespace treadle {

namespace {

// Every call into the core goes without the GIL: a matcher waits for the lock of its grammar while
// another thread may be filling a mask.
template <class Call>
auto released(Call call) {
  nb::gil_scoped_release release;
  return call();
}

// Ids come from anywhere; one outside the vocabulary is simply not legal.
TokenId token_of(int64_t id) {
  return id < 0 || id > int64_t{UINT32_MAX} ? UINT32_MAX : static_cast<TokenId>(id);
}

void check_row(const MaskRows& rows, int64_t index) {
  if (index >= 0 && index < rows.rows) return;
  throw nb::index_error(("mask rows: row " + std::to_string(index) + " of " +
                         std::to_string(rows.rows) + " does not exist")
                            .c_str());
}

bool fill(Matcher& self, nb::handle object, int64_t index) {
  nb::object keep;
  MaskRows rows = mask_rows_of(object, keep);
  check_row(rows, index);
  return unwrap(released([&] { return self.fill(rows.row(index)); }));
}

std::vector<Matcher*> matchers_of(const nb::sequence& objects) {
  std::vector<Matcher*> out;
  for (nb::handle object : objects) out.push_back(nb::cast<Matcher*>(object));
  return out;
}

std::vector<TokenId> tokens_of(const std::vector<int64_t>& ids) {
  std::vector<TokenId> tokens;
  for (int64_t id : ids) tokens.push_back(token_of(id));
  return tokens;
}

std::vector<uint32_t> batch_fill(Batch& self, const nb::sequence& objects, nb::handle buffer,
                                 std::optional<std::vector<int64_t>> index) {
  std::vector<Matcher*> matchers = matchers_of(objects);
  nb::object keep;
  MaskRows rows = mask_rows_of(buffer, keep);
  std::vector<int64_t> where;
  if (index) {
    where = std::move(*index);
  } else {
    for (size_t i = 0; i < matchers.size(); ++i) where.push_back(static_cast<int64_t>(i));
  }
  if (where.size() != matchers.size()) {
    throw nb::value_error("mask rows: give one row index for each matcher");
  }
  for (int64_t row : where) check_row(rows, row);
  return released([&] { return self.fill(matchers, rows, where); });
}

std::vector<bool> batch_accept(Batch&, const nb::sequence& objects,
                               const std::vector<int64_t>& ids) {
  std::vector<Matcher*> matchers = matchers_of(objects);
  if (ids.size() != matchers.size()) {
    throw nb::value_error("accept: give one token id for each matcher");
  }
  std::vector<TokenId> tokens = tokens_of(ids);
  return released([&] { return Batch::accept(matchers, tokens); });
}

using Int32s = nb::ndarray<int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Int64s = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::vector<uint32_t> batch_mask_ids(Batch&, const nb::sequence& objects, nb::handle out) {
  std::vector<Matcher*> matchers = matchers_of(objects);
  Int32s ids;
  if (!nb::try_cast(out, ids, false) || ids.shape(0) < matchers.size()) {
    throw nb::type_error(
        "mask_ids: expected a writable CPU buffer of int32 with one element a matcher");
  }
  std::span<MaskId> span(ids.data(), matchers.size());
  return released([&] { return Batch::mask_ids(matchers, span); });
}

// The numbers of a list, or of a buffer of int64, which is read where it lies.
struct Links {
  Int64s array;
  std::vector<int64_t> list;
  explicit Links(nb::handle object) {
    if (nb::try_cast(object, array, false)) return;
    if (nb::try_cast(object, list)) return;
    throw nb::type_error("a draft tree is three lists, or CPU buffers of int64 with one axis");
  }
  [[nodiscard]] std::span<const int64_t> span() const {
    return array.is_valid() ? std::span(array.data(), array.shape(0)) : std::span(list);
  }
};

bool fill_tree(Matcher& self, nb::handle child, nb::handle sibling, nb::handle ids,
               nb::handle buffer, std::optional<double> seconds, nb::handle temperatures) {
  Links children(child);
  Links siblings(sibling);
  Links tokens(ids);
  nb::object keep;
  MaskRows rows = mask_rows_of(buffer, keep);
  Deadline deadline;
  if (seconds) {
    std::chrono::duration<double> limit(std::clamp(*seconds, 0.0, 1e9));
    deadline = std::chrono::steady_clock::now() +
               std::chrono::duration_cast<std::chrono::steady_clock::duration>(limit);
  }
  DraftTree tree{children.span(), siblings.span(), tokens.span()};
  Floats floats;
  if (!temperatures.is_none() && !nb::try_cast(temperatures, floats, false)) {
    throw nb::type_error("temperatures: expected a writable CPU buffer of float32 with one axis");
  }
  std::span<float> warm;
  if (floats.is_valid()) warm = {floats.data(), std::min(floats.shape(0), tree.child.size())};
  return unwrap(released([&] { return self.fill_tree(tree, rows, deadline, warm); }));
}

void bind_looks(nb::class_<Matcher>& matcher) {
  matcher
      .def("forced",
           [](Matcher& self) {
             std::string bytes = unwrap(released([&] { return self.forced(); }));
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def(
          "canonical",
          [](Matcher& self, const nb::bytes& forced, const std::vector<int64_t>& ids) {
            std::string_view view(forced.c_str(), forced.size());
            std::vector<TokenId> tokens = tokens_of(ids);
            return unwrap(released([&] { return self.canonical(view, tokens); }));
          },
          nb::arg("forced"), nb::arg("ids"))
      .def(
          "validate",
          [](Matcher& self, const std::vector<int64_t>& ids) {
            std::vector<TokenId> tokens = tokens_of(ids);
            return unwrap(released([&] { return self.validate(tokens); }));
          },
          nb::arg("ids"))
      .def(
          "token_bytes",
          [](const Matcher& self, int64_t id) {
            const Vocab& vocab = self.compiled().vocab();
            TokenId token = token_of(id);
            std::string_view text = vocab.is_text(token) ? vocab.bytes(token) : "";
            return nb::bytes(text.data(), text.size());
          },
          nb::arg("token"))
      .def("fill_tree", &fill_tree, nb::arg("child"), nb::arg("sibling"), nb::arg("ids"),
           nb::arg("rows"), nb::arg("seconds").none() = nb::none(),
           nb::arg("temperatures").none() = nb::none())
      .def(
          "captures",
          [](const Matcher& self, bool longest) {
            auto found = unwrap(released([&] { return self.captures(longest); }));
            nb::list out;
            for (const auto& [name, text] : found) {
              out.append(nb::make_tuple(name, nb::bytes(text.data(), text.size())));
            }
            return out;
          },
          nb::arg("longest"))
      .def_prop_ro("temperature", [](const Matcher& self) -> std::optional<float> {
        float value = released([&] { return self.temperature(); });
        return value < 0 ? std::nullopt : std::optional<float>(value);
      });
}

void bind_steps(nb::class_<Matcher>& matcher) {
  matcher.def("fill", &fill, nb::arg("rows"), nb::arg("index"))
      .def(
          "accept",
          [](Matcher& self, int64_t id) {
            return unwrap(released([&] { return self.accept(token_of(id)); }));
          },
          nb::arg("token"))
      .def(
          "accept_bytes",
          [](Matcher& self, const nb::bytes& text) {
            std::string_view view(text.c_str(), text.size());
            return unwrap(released([&] { return self.accept_bytes(view); }));
          },
          nb::arg("text"))
      .def(
          "rollback",
          [](Matcher& self, int64_t steps) {
            uint64_t count = steps < 0 ? UINT64_MAX : static_cast<uint64_t>(steps);
            Status status = released([&] { return self.rollback(count); });
            if (!status.ok()) raise(status);
          },
          nb::arg("steps"))
      .def("fork", [](const Matcher& self) { return released([&] { return self.fork(); }); })
      .def("reset", [](Matcher& self) { released([&] { self.reset(); }); });
}

}  // namespace

void bind_matcher(nb::module_& module) {
  nb::class_<Matcher> matcher(module, "Matcher", "One text on its way through a grammar.");
  bind_steps(matcher);
  bind_looks(matcher);
  matcher
      .def_prop_ro("accepting",
                   [](const Matcher& self) { return released([&] { return self.accepting(); }); })
      .def_prop_ro("finished",
                   [](const Matcher& self) { return released([&] { return self.finished(); }); })
      .def_prop_ro("steps",
                   [](const Matcher& self) { return released([&] { return self.steps(); }); })
      .def_prop_ro("error", [](const Matcher& self) -> nb::object {
        Status status = released([&] { return self.error(); });
        return status.ok() ? nb::none() : core_error(status, "grammar");
      });
  nb::class_<Batch>(module, "Batch", "Many matchers in one call; 0 threads: half of the cores.")
      .def(nb::init<size_t>(), nb::arg("threads") = 0)
      .def("fill", &batch_fill, nb::arg("matchers"), nb::arg("rows"),
           nb::arg("index").none() = nb::none(),
           "Fills one row a matcher; returns the positions that failed.")
      .def("accept", &batch_accept, nb::arg("matchers"), nb::arg("ids"))
      .def("mask_ids", &batch_mask_ids, nb::arg("matchers"), nb::arg("out"),
           "Writes one mask id a matcher; returns the positions without one (-2).");
}

}  // namespace treadle
