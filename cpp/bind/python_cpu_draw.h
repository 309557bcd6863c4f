// SampleBatch and Sampled on their way between Python and the runner.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "cpu/step.h"

namespace treadle {

// treadle.types.SampleBatch: one value a row, and lists with their offsets. Throws where they do
// not agree; what they say is checked by whoever draws.
class Rules {
 public:
  explicit Rules(nanobind::handle from);

  size_t rows() const { return rows_; }
  // Gives the rules and the lists that they point to.
  void give(cpu::Draw& draw);

 private:
  template <class T>
  using Values =
      nanobind::ndarray<const T, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

  template <class T>
  Values<T> field(nanobind::handle from, const char* name) const;
  bool rises(const Values<int32_t>& offsets, size_t end) const;
  cpu::RowRule rule(size_t r, const cpu::Draw& draw) const;

  Values<float> temperature_, top_p_, min_p_, presence_, frequency_, repetition_, biases_;
  Values<int32_t> top_k_, step_, logprobs_, bias_ptr_, bias_ids_, pen_ptr_, pen_ids_, pen_out_;
  Values<uint64_t> key_;
  size_t rows_;
};

// ids, status, logprobs, top_ids [R, tops], top_logprobs as memoryviews of arrays of their own.
nanobind::tuple drawn_arrays(const cpu::DrawnRows& drawn);

void bind_cpu_draw(nanobind::module_& module);

}  // namespace treadle
