#include "cpu/step.h"

#include <algorithm>
#include <limits>

namespace treadle::cpu {

namespace {

template <class T>
void at_least(Room<T>& values, size_t count) {
  if (values.size() < count) values.resize(count);
}

}  // namespace

void DrawnRows::reset(size_t rows, size_t alternatives) {
  constexpr float untold = std::numeric_limits<float>::quiet_NaN();
  tops = alternatives;
  tokens.assign(rows, -1);
  status.assign(rows, row_drawn);
  logprobs.assign(rows, untold);
  top_ids.assign(rows * tops, -1);
  top_logprobs.assign(rows * tops, untold);
}

void DrawnRows::set(size_t row, const RowDraw& drawn) {
  tokens[row] = drawn.token;
  status[row] = drawn.status;
  logprobs[row] = drawn.logprob;
}

void Scratch::grow(const BoundPlan& bound) {
  sample.grow(bound.plan.head.vocab);
  const size_t rows = bound.plan.head.rows;
  size_t active = 0, head_floats = 0;
  for (const Site& site : bound.plan.sites) {
    active = std::max<size_t>(active, site.active);
    if (site.heads == 0) continue;
    const size_t queries = site.has(site_split) ? rows * (site.heads / site.kv_heads) : 0;
    head_floats = std::max<size_t>(head_floats, (queries + site.kv_heads) * site.head);
  }
  size_t widest = 0;
  for (const Rotation& rotation : bound.rotations)
    widest = std::max<size_t>(widest, rotation.pairs);
  pairs = std::max(pairs, widest);
  const size_t loaded = bound.most_loaded, width = bound.widest_load;
  const size_t quant_bytes = QuantRow::of(width).bytes();
  at_least(this->rows, (loaded + 1) * width);
  at_least(quants, loaded * quant_bytes);
  const size_t results = std::max(block, rows * std::max<size_t>(active, 1) * kStripRows);
  at_least(out, results);
  at_least(gate, results);
  at_least(heads, head_floats);
  at_least(cosines, bound.rotations.size() * rows * pairs);
  at_least(sines, bound.rotations.size() * rows * pairs);
  if (active == 0) return;
  at_least(weights, rows * active);
  at_least(chosen, rows * active);
  at_least(total, results);
  at_least(gathered, rows * active * std::max(quant_bytes, width * sizeof(float)));
}

Activations quantised(const StepView& step, const float* rows, size_t stride, size_t count,
                      size_t columns, uint8_t* to) {
  const size_t bytes = QuantRow::of(columns).bytes();
  for (size_t i = 0; i < count; ++i) {
    step.kernels.quantise(rows + i * stride, columns, to + i * bytes);
  }
  return {to, bytes, count};
}

const float* load_row(const StepView& step, const Task& task, size_t row, float* h,
                      const float** sum) {
  const Site& site = step.site(task);
  const Kernels& k = step.kernels;
  const size_t width = site.k;
  const size_t index = site.has(site_take) ? static_cast<size_t>(step.batch.rows[row]) : row;
  const float* x = nullptr;
  if (site.has(site_fold)) {
    fold_row(step, task, index, 0, site.kv_heads, h);
    x = h;
  } else if (task.in_off != kNone) {
    x = step.at(task.in_off) + index * site.in_stride * 4;
  } else {
    std::fill(h, h + width, 0.0f);
    x = h;
  }
  if (site.terms) {
    float* y = step.scratch.rows.data() + step.scratch.rows.size() - width;
    const size_t stride = site.term_stride / step.bound.plan.head.rows * 4;
    std::fill(y, y + width, 0.0f);
    for (size_t j = 0; j < site.terms; ++j) {
      const float* term = step.at(site.terms_off) + j * site.term_stride * 4 + index * stride;
      k.add(y, term, width, y);
    }
    if (site.post != kNone) k.rmsnorm(y, step.values(site.post), width, site.post_eps, y);
    k.add(x, y, width, y);
    x = y;
  }
  *sum = x;
  if (site.norm != kNone) {
    if (x == h) {  // the sum is still wanted
      float* y = step.scratch.rows.data() + step.scratch.rows.size() - width;
      std::copy(x, x + width, y);
      *sum = x = y;
    }
    k.rmsnorm(x, step.values(site.norm), width, site.norm_eps, h);
    return h;
  }
  if (site.terms) std::copy(x, x + width, h);
  return site.terms ? h : x;
}

Loaded load_rows(const StepView& step, const Task& task, size_t first, size_t count) {
  const Site& site = step.site(task);
  const SiteUse& use = step.use(task);
  const size_t width = site.k;
  Loaded out;
  if (site.has(site_staged)) {
    const float* rows = step.at(task.in_off) + first * site.in_stride * 4;
    const Activations there = {reinterpret_cast<const uint8_t*>(rows), site.in_stride * size_t{16},
                               count};
    if (use.writes_int8) {
      out.integers = there;
      return out;
    }
    out.floats = there;
    if (use.integers) {
      out.integers =
          quantised(step, rows, site.in_stride * 4, count, width, step.scratch.quants.data());
    }
    return out;
  }
  float* loaded = step.scratch.rows.data();
  uint8_t* quants = step.scratch.quants.data();
  const size_t bytes = QuantRow::of(width).bytes();
  const bool stores = static_cast<Op>(task.op) == Op::linear && task.count() != 0;
  for (size_t i = 0; i < count; ++i) {
    float* h = loaded + i * width;
    const float* sum = nullptr;
    const float* row = load_row(step, task, first + i, h, &sum);
    if (stores) {
      const size_t from = size_t{task.first()} * 4;
      const size_t end = std::min<size_t>(width, from + size_t{task.count()} * 4);
      std::copy(sum + from, sum + end,
                step.at(task.aux_off) + (first + i) * site.aux_stride * 4 + from);
    }
    if (use.integers) step.kernels.quantise(row, width, quants + i * bytes);
    if (use.floats && row != h) std::copy(row, row + width, h);
  }
  if (use.integers) out.integers = {quants, bytes, count};
  if (use.floats) {
    out.floats = {reinterpret_cast<const uint8_t*>(loaded), width * sizeof(float), count};
  }
  return out;
}

void multiply(const StepView& step, const Param& param, const uint8_t* packed, size_t first,
              size_t count, const Activations& x, float* y, size_t stride) {
  Shape shape = param.shape;
  shape.rows -= first * kStripRows;
  shape.strips -= first;
  step.kernels.matmul[static_cast<size_t>(shape.kind)](shape, packed + first * shape.strip_bytes, 0,
                                                       count, x, y, stride);
}

}  // namespace treadle::cpu
