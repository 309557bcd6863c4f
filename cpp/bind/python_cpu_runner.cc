#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind/python_cpu.h"
#include "bind/python_cpu_draw.h"
#include "bind/python_error.h"
#include "cpu/pool.h"
#include "cpu/runner.h"

namespace nb = nanobind;

namespace treadle {

namespace {

template <class T, size_t N>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Ints = Array<const int32_t, 1>;

std::vector<int32_t> copied(const Ints& from) {
  return {from.data(), from.data() + from.size()};
}

// A matrix: (kind, rows, columns, packed bytes) or, with experts, (.., experts).
cpu::Param matrix(const nb::tuple& from) {
  if (from.size() != 4 && from.size() != 5) {
    throw nb::type_error("a matrix is (kind, rows, columns, packed) or (.., packed, experts)");
  }
  cpu::Param param;
  const cpu::Kind kind = unwrap(cpu::kind_of(nb::cast<std::string>(from[0])));
  param.shape = unwrap(cpu::make_shape(kind, nb::cast<size_t>(from[1]), nb::cast<size_t>(from[2])));
  const auto packed = nb::cast<Array<const uint8_t, 1>>(from[3]);
  if (from.size() == 5) param.experts = nb::cast<size_t>(from[4]);
  if (param.experts == 0 || packed.size() != param.experts * param.shape.bytes()) {
    raise(invalid_request("packed", "has another size than its shape needs"));
  }
  param.packed = packed.data();
  return param;
}

// The mask of each row of a step, -1 for none; rows[i]: whose masks[i] is.
std::vector<int32_t> masks_by_row(const Ints& rows, size_t masks, size_t wanted) {
  if (rows.size() != masks) raise(invalid_request("mask", "has a row number for each of its rows"));
  std::vector<int32_t> out(wanted, -1);
  for (size_t i = 0; i < masks; ++i) {
    const int32_t row = rows.data()[i];
    if (row < 0 || static_cast<size_t>(row) >= wanted || out[static_cast<size_t>(row)] >= 0) {
      raise(invalid_request("mask", "names a row that is not there, or one twice"));
    }
    out[static_cast<size_t>(row)] = static_cast<int32_t>(i);
  }
  return out;
}

// Holds what the runner points to; its threads stop before any of it goes.
class PyRunner {
 public:
  PyRunner(const std::vector<nb::bytes>& plans, const nb::sequence& params,
           const nb::sequence& states, const std::string& isa, size_t trace)
      : params_(params), states_(states) {
    std::vector<cpu::Plan> read;
    for (const nb::bytes& plan : plans) {
      const auto* data = reinterpret_cast<const uint8_t*>(plan.c_str());
      read.push_back(unwrap(cpu::read_plan({data, plan.size()})));
    }
    cpu::Model model;
    for (nb::handle param : params_) {
      if (param.is_none()) {
        model.params.emplace_back();
      } else if (nb::isinstance<nb::tuple>(param)) {
        model.params.push_back(matrix(nb::cast<nb::tuple>(param)));
      } else {
        const auto values = nb::cast<Array<const float, 1>>(param);
        model.params.push_back({.values = values.data(), .count = values.size()});
      }
    }
    for (nb::handle state : states_) {
      const auto pages = nb::cast<nb::ndarray<uint16_t, nb::ndim<3>, nb::device::cpu>>(state);
      const size_t size = pages.shape(2) / (2 * cpu::kPage),
                   width = pages.shape(1) * pages.shape(2);
      const auto stride = static_cast<size_t>(pages.stride(0));
      if (size * 2 * cpu::kPage != pages.shape(2) || pages.stride(2) != 1 ||
          pages.stride(1) != static_cast<int64_t>(pages.shape(2)) || pages.stride(0) < 0 ||
          (pages.shape(0) > 1 && stride < width)) {
        raise(invalid_request("states",
                              "are [pages, kv_heads, 2 * 16 * size] of f16, each page "
                              "in one piece"));
      }
      model.states.push_back(
          {pages.data(), pages.shape(0), pages.shape(1), size, std::max(stride, width)});
    }
    const cpu::RunnerOptions options{.isa = unwrap(cpu::isa_of(isa)), .trace = trace};
    runner_ = unwrap(cpu::Runner::make(std::move(read), std::move(model), options));
  }

  cpu::Runner& runner() { return *runner_; }

  void start() {
    if (!threads_) threads_ = std::make_unique<cpu::WorkerThreads>(*runner_);
  }

  void close() {
    nb::gil_scoped_release release;
    runner_->stop();
    threads_.reset();
  }

  uint32_t post(size_t plan, const Ints& ids, const Ints& pos, const Ints& slots,
                const Ints& starts, const Ints& lens, const Array<const int32_t, 2>& table,
                const Ints& rows) {
    cpu::Batch batch;
    batch.ids = copied(ids);
    batch.pos = copied(pos);
    batch.slots = copied(slots);
    batch.starts = copied(starts);
    batch.lens = copied(lens);
    batch.table.assign(table.data(), table.data() + table.size());
    batch.rows = copied(rows);
    batch.tokens = ids.size();
    batch.sequences = lens.size();
    batch.wanted = rows.size();
    batch.table_width = table.shape(1);
    return unwrap(runner_->post(plan, std::move(batch)));
  }

  void bind(std::optional<Array<const int32_t, 2>> mask, std::optional<Ints> mask_rows,
            std::optional<Ints> given, std::optional<nb::handle> params) {
    cpu::Draw draw;
    std::optional<Rules> rules;
    if (params) rules.emplace(*params);
    if (mask) {
      draw.mask = reinterpret_cast<const uint32_t*>(mask->data());
      draw.mask_stride = mask->shape(1);
      if (!mask_rows || !rules) raise(invalid_request("mask", "needs mask_rows and params"));
      draw.mask_row = masks_by_row(*mask_rows, mask->shape(0), rules->rows());
    }
    if (given) draw.given = copied(*given);
    if (rules) rules->give(draw);
    const Status status = runner_->bind(std::move(draw));
    if (!status.ok()) raise(status);
    masks_[next_++ % 2] = std::move(mask);  // alive until its slot is taken again
  }

  nb::tuple drawn(uint32_t step) const {
    const cpu::DrawnRows* found = runner_->drawn(step);
    if (!found) raise(invalid_request("step", "is not one of the last two"));
    return drawn_arrays(*found);
  }

  bool wait(uint32_t step, bool logits) {
    nb::gil_scoped_release release;
    return logits ? runner_->wait_logits(step) : runner_->wait_done(step);
  }

  void advance() {
    if (threads_ || runner_->workers() != 1) {
      raise(invalid_request("runner", "advance() is for one worker without threads"));
    }
    nb::gil_scoped_release release;
    runner_->advance();
  }

  std::vector<int32_t> tokens(uint32_t step) const {
    const std::span<const int32_t> found = runner_->tokens(step);
    return {found.begin(), found.end()};
  }

  nb::bytes trace(size_t number) const {
    if (number > runner_->workers()) raise(invalid_request("worker", "is not there"));
    const std::vector<cpu::TraceRecord> found = runner_->trace(number);
    return nb::bytes(found.data(), found.size() * sizeof(cpu::TraceRecord));
  }

 private:
  nb::list params_, states_;
  std::optional<Array<const int32_t, 2>> masks_[2];
  size_t next_ = 0;
  std::unique_ptr<cpu::Runner> runner_;
  std::unique_ptr<cpu::WorkerThreads> threads_;  // gone first
};

}  // namespace

void bind_cpu_runner(nb::module_& module) {
  nb::class_<PyRunner>(module, "CpuRunner",
                       "Plans, weights and KV pages bound together, and the workers' steps.")
      .def(nb::init<const std::vector<nb::bytes>&, const nb::sequence&, const nb::sequence&,
                    const std::string&, size_t>(),
           nb::arg("plans"), nb::arg("params"), nb::arg("states"), nb::arg("isa"),
           nb::arg("trace") = 0)
      .def_prop_ro("workers", [](PyRunner& self) { return self.runner().workers(); })
      .def("start", &PyRunner::start, "Starts a thread for each worker.")
      .def("close", &PyRunner::close, "Stops and joins the threads; the runner is then of no use.")
      .def("post", &PyRunner::post, nb::arg("plan"), nb::arg("ids"), nb::arg("pos"),
           nb::arg("slots"), nb::arg("starts"), nb::arg("lens"), nb::arg("table"), nb::arg("rows"),
           "Gives the workers a batch; returns the step's number. Two steps may be under way.")
      .def("bind", &PyRunner::bind, nb::arg("mask") = nb::none(), nb::arg("mask_rows") = nb::none(),
           nb::arg("given") = nb::none(), nb::arg("params") = nb::none(),
           "How the oldest step not yet bound draws its tokens; mask_rows: the row of each mask; "
           "params: a SampleBatch, without one the best token is taken.")
      .def(
          "wait_logits", [](PyRunner& self, uint32_t step) { return self.wait(step, true); },
          nb::arg("step"), "False: the runner was closed.")
      .def(
          "wait_done", [](PyRunner& self, uint32_t step) { return self.wait(step, false); },
          nb::arg("step"), "False: the runner was closed.")
      .def(
          "is_over", [](PyRunner& self, uint32_t step) { return self.runner().is_over(step); },
          nb::arg("step"))
      .def("advance", &PyRunner::advance, "One worker, no threads: runs as far as it can.")
      .def(
          "logits",
          [](nb::handle_t<PyRunner> self, uint32_t step) {
            const cpu::Runner::Logits found = nb::cast<PyRunner&>(self).runner().logits(step);
            const size_t shape[2] = {found.rows, found.vocab};
            const int64_t strides[2] = {static_cast<int64_t>(found.stride), 1};
            return nb::ndarray<nb::numpy, const float, nb::ndim<2>>(found.data, 2, shape, self,
                                                                    strides);
          },
          nb::arg("step"), "A view [rows, vocabulary], valid until a later step runs.")
      .def("drawn", &PyRunner::drawn, nb::arg("step"),
           "ids, status, logprobs, top_ids and top_logprobs of a step that is over, as `Sampled`.")
      .def("tokens", &PyRunner::tokens, nb::arg("step"), "-1 where no token was legal.")
      .def("trace", &PyRunner::trace, nb::arg("number"),
           "Records of 24 bytes (cpu/trace.h) of a worker, or of the host after the last worker.");
}

}  // namespace treadle
