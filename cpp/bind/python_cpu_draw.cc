#include "bind/python_cpu_draw.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>
#include <vector>

#include "bind/python_error.h"

namespace nb = nanobind;

namespace treadle {

namespace {

template <class T>
nb::object array(const std::vector<T>& from, std::initializer_list<size_t> shape) {
  auto* held = new std::vector<T>(from);
  const nb::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::cast(nb::ndarray<nb::memview, T>(held->data(), shape, owner));
}

}  // namespace

template <class T>
Rules::Values<T> Rules::field(nb::handle from, const char* name) const {
  return nb::cast<Values<T>>(from.attr(name));
}

Rules::Rules(nb::handle from)
    : temperature_(field<float>(from, "temperature")),
      top_p_(field<float>(from, "top_p")),
      min_p_(field<float>(from, "min_p")),
      presence_(field<float>(from, "presence")),
      frequency_(field<float>(from, "frequency")),
      repetition_(field<float>(from, "repetition")),
      biases_(field<float>(from, "bias_values")),
      top_k_(field<int32_t>(from, "top_k")),
      step_(field<int32_t>(from, "step")),
      logprobs_(field<int32_t>(from, "logprobs")),
      bias_ptr_(field<int32_t>(from, "bias_ptr")),
      bias_ids_(field<int32_t>(from, "bias_ids")),
      pen_ptr_(field<int32_t>(from, "pen_ptr")),
      pen_ids_(field<int32_t>(from, "pen_ids")),
      pen_out_(field<int32_t>(from, "pen_out")),
      key_(field<uint64_t>(from, "key")),
      rows_(temperature_.size()) {
  bool even = key_.size() == rows_;
  for (const Values<float>* one : {&top_p_, &min_p_, &presence_, &frequency_, &repetition_}) {
    even = even && one->size() == rows_;
  }
  for (const Values<int32_t>* one : {&top_k_, &step_, &logprobs_}) {
    even = even && one->size() == rows_;
  }
  if (!even || biases_.size() != bias_ids_.size() || pen_out_.size() != pen_ids_.size() ||
      !rises(bias_ptr_, bias_ids_.size()) || !rises(pen_ptr_, pen_ids_.size())) {
    raise(invalid_request("params", "are one value a row, and lists with their offsets"));
  }
}

bool Rules::rises(const Values<int32_t>& offsets, size_t end) const {
  if (offsets.size() != rows_ + 1 || offsets.data()[0] != 0) return false;
  for (size_t r = 0; r < rows_; ++r) {
    if (offsets.data()[r] > offsets.data()[r + 1]) return false;
  }
  return static_cast<size_t>(offsets.data()[rows_]) == end;
}

cpu::RowRule Rules::rule(size_t r, const cpu::Draw& draw) const {
  const auto bias = static_cast<size_t>(bias_ptr_.data()[r]);
  const auto seen = static_cast<size_t>(pen_ptr_.data()[r]);
  const size_t biased = static_cast<size_t>(bias_ptr_.data()[r + 1]) - bias;
  const size_t named = static_cast<size_t>(pen_ptr_.data()[r + 1]) - seen;
  const int32_t* ids = draw.ids.data();
  return {
      .temperature = temperature_.data()[r],
      .top_p = top_p_.data()[r],
      .min_p = min_p_.data()[r],
      .presence = presence_.data()[r],
      .frequency = frequency_.data()[r],
      .repetition = repetition_.data()[r],
      .top_k = top_k_.data()[r],
      .step = step_.data()[r],
      .logprobs = logprobs_.data()[r],
      .key = key_.data()[r],
      .bias_ids = {ids + bias, biased},
      .seen_ids = {ids + bias_ids_.size() + seen, named},
      .seen_counts = {ids + bias_ids_.size() + pen_ids_.size() + seen, named},
      .bias_values = {draw.values.data() + bias, biased},
  };
}

void Rules::give(cpu::Draw& draw) {
  for (const Values<int32_t>* list : {&bias_ids_, &pen_ids_, &pen_out_}) {
    draw.ids.insert(draw.ids.end(), list->data(), list->data() + list->size());
  }
  draw.values.assign(biases_.data(), biases_.data() + biases_.size());
  for (size_t r = 0; r < rows_; ++r) draw.rules.push_back(rule(r, draw));
}

nb::tuple drawn_arrays(const cpu::DrawnRows& drawn) {
  const size_t rows = drawn.tokens.size();
  return nb::make_tuple(array(drawn.tokens, {rows}), array(drawn.status, {rows}),
                        array(drawn.logprobs, {rows}), array(drawn.top_ids, {rows, drawn.tops}),
                        array(drawn.top_logprobs, {rows, drawn.tops}));
}

namespace {

template <class T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// The rule of a step's last tasks, row after row.
nb::tuple draw_rows(const std::string& isa, Matrix<const float> logits,
                    std::optional<Matrix<const int32_t>> masks, nb::handle params) {
  const size_t vocab = logits.shape(1);
  Rules rules(params);
  cpu::Draw draw;
  rules.give(draw);
  size_t tops = 0;
  bool fits = rules.rows() == logits.shape(0) && vocab > 0;
  if (masks) fits = fits && masks->shape(0) == rules.rows() && masks->shape(1) * 32 >= vocab;
  for (const cpu::RowRule& rule : draw.rules) {
    fits = fits && cpu::rule_fault(rule, vocab).empty();
    tops = std::max(tops, static_cast<size_t>(std::max(rule.logprobs, 0)));
  }
  if (!fits) raise(invalid_request("params", "do not fit logits [R, V], masks [R, V / 32]"));
  const cpu::Kernels* kernels = cpu::kernels(unwrap(cpu::isa_of(isa)));
  if (!kernels) raise(invalid_request("isa", "this machine or build lacks " + isa));
  cpu::DrawnRows drawn;
  drawn.reset(rules.rows(), tops);
  cpu::SampleScratch scratch;
  scratch.grow(vocab);
  for (size_t r = 0; r < rules.rows(); ++r) {
    const auto* mask = masks ? reinterpret_cast<const uint32_t*>(masks->data()) : nullptr;
    drawn.set(r,
              cpu::draw_row(*kernels, logits.data() + r * vocab, vocab,
                            mask ? mask + r * masks->shape(1) : nullptr, draw.rules[r], scratch,
                            drawn.top_ids.data() + r * tops, drawn.top_logprobs.data() + r * tops));
  }
  return drawn_arrays(drawn);
}

}  // namespace

void bind_cpu_draw(nb::module_& module) {
  module.def("cpu_draw", &draw_rows, nb::arg("isa"), nb::arg("logits"), nb::arg("masks").none(),
             nb::arg("params"),
             "Draws a token for each row of logits [R, V] f32 under masks [R, V / 32] of legal "
             "tokens, as a SampleBatch says: ids, status, logprobs, top_ids, top_logprobs.");
}

}  // namespace treadle
