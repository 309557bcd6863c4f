#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
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

std::vector<uint32_t> fill_many(const nb::sequence& objects, nb::handle buffer,
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
  return released([&] { return fill_batch(matchers, rows, where); });
}

std::vector<bool> accept_many(const nb::sequence& objects, const std::vector<int64_t>& ids) {
  std::vector<Matcher*> matchers = matchers_of(objects);
  if (ids.size() != matchers.size()) {
    throw nb::value_error("accept: give one token id for each matcher");
  }
  std::vector<TokenId> tokens;
  for (int64_t id : ids) tokens.push_back(token_of(id));
  return released([&] { return accept_batch(matchers, tokens); });
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
      .def("reset", [](Matcher& self) { released([&] { self.reset(); }); })
      .def("forced",
           [](Matcher& self) {
             std::string bytes = unwrap(released([&] { return self.forced(); }));
             return nb::bytes(bytes.data(), bytes.size());
           })
      .def(
          "validate",
          [](Matcher& self, const std::vector<int64_t>& ids) {
            std::vector<TokenId> tokens;
            for (int64_t id : ids) tokens.push_back(token_of(id));
            return unwrap(released([&] { return self.validate(tokens); }));
          },
          nb::arg("ids"));
}

}  // namespace

void bind_matcher(nb::module_& module) {
  nb::class_<Matcher> matcher(module, "Matcher", "One text on its way through a grammar.");
  bind_steps(matcher);
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
  module.def("fill_batch", &fill_many, nb::arg("matchers"), nb::arg("rows"),
             nb::arg("index").none() = nb::none(),
             "Fills one row a matcher; returns the positions that failed.");
  module.def("accept_batch", &accept_many, nb::arg("matchers"), nb::arg("ids"));
}

}  // namespace treadle
