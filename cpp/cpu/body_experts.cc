// EXPERTS_UP and EXPERTS_DOWN: the rows that chose an expert, gathered and multiplied by it.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/step.h"

namespace treadle::cpu {

namespace {

// Weights and experts of every row, best first; ties to the lower index. In double: the order of
// a router must not hang on the last bit of a sum.
void route(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  for (size_t row = 0; row < step.batch.tokens; ++row) {
    const float* x = step.at(task.aux_off) + row * site.aux_stride * 4;
    float* weights = step.scratch.weights.data() + row * site.active;
    int32_t* chosen = step.scratch.chosen.data() + row * site.active;
    float most = x[0];
    for (size_t e = 1; e < site.experts; ++e) most = std::max(most, x[e]);
    double total = 0, kept = 0;
    for (size_t e = 0; e < site.experts; ++e) total += std::exp(static_cast<double>(x[e]) - most);
    for (size_t a = 0; a < site.active; ++a) {
      int32_t best = -1;
      for (size_t e = 0; e < site.experts; ++e) {
        const auto id = static_cast<int32_t>(e);
        if (std::find(chosen, chosen + a, id) != chosen + a) continue;
        if (best < 0 || x[e] > x[best]) best = id;
      }
      chosen[a] = best;
      const double score = x[best];
      weights[a] = static_cast<float>(site.score & 1 ? 1 / (1 + std::exp(-score))
                                                     : std::exp(score - most) / total);
      kept += weights[a];
    }
    if (site.score & 2) {
      for (size_t a = 0; a < site.active; ++a) {
        weights[a] = static_cast<float>(weights[a] / kept);
      }
    }
  }
}

// Calls fn(expert) for those in use, ascending.
template <class Fn>
void each_used(const StepView& step, const Site& site, Fn fn) {
  const int32_t* chosen = step.scratch.chosen.data();
  const size_t count = step.batch.tokens * site.active;
  for (size_t e = 0; e < site.experts; ++e) {
    if (std::find(chosen, chosen + count, static_cast<int32_t>(e)) != chosen + count) fn(e);
  }
}

// Copies the rows at which `expert` was chosen: row i / divide of x for choice i.
Activations gather(const StepView& step, const Site& site, const Activations& x, Kind kind,
                   size_t expert, size_t divide) {
  const size_t bytes =
      kind_info(kind).integer ? QuantRow::of(site.k).bytes() : size_t{site.k} * sizeof(float);
  Activations out = {step.scratch.gathered.data(), bytes, 0};
  const size_t count = step.batch.tokens * site.active;
  for (size_t i = 0; i < count; ++i) {
    if (step.scratch.chosen[i] != static_cast<int32_t>(expert)) continue;
    std::memcpy(step.scratch.gathered.data() + out.rows * out.stride,
                x.data + i / divide * x.stride, bytes);
    ++out.rows;
  }
  return out;
}

}  // namespace

void run_experts_up(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  if (step.batch.tokens == 0) return;
  route(step, task);
  const Loaded x = load_rows(step, task, 0, step.count(site));
  const Param& gate = step.model.params[site.w[0]];
  const Param& up = step.model.params[site.w[1]];
  const size_t units = (site.rows[0] + kStripRows - 1) / kStripRows;
  size_t used = 0, at = 0;
  each_used(step, site, [&](size_t) { ++used; });
  const Share mine = share_of(used * units, task);
  float* g = step.scratch.gate.data();
  float* u = step.scratch.out.data();
  each_used(step, site, [&](size_t expert) {
    const size_t first = std::max(mine.first, at), end = std::min(mine.end, at + units);
    const size_t base = at;
    at += units;
    if (first >= end) return;
    const size_t choices = step.batch.tokens * site.active;
    for (size_t unit = first - base; unit < end - base; ++unit) {
      const Activations in =
          gather(step, site, x.of(gate.shape.kind), gate.shape.kind, expert, site.active);
      multiply(step, gate, gate.expert(expert), unit, 1, in, g, kStripRows);
      const Activations same =
          kind_info(gate.shape.kind).integer == kind_info(up.shape.kind).integer
              ? in
              : gather(step, site, x.of(up.shape.kind), up.shape.kind, expert, site.active);
      multiply(step, up, up.expert(expert), unit, 1, same, u, kStripRows);
      const size_t row0 = unit * kStripRows;
      const size_t columns = std::min<size_t>(kStripRows, site.rows[0] - row0);
      size_t n = 0;
      for (size_t i = 0; i < choices; ++i) {
        if (step.scratch.chosen[i] != static_cast<int32_t>(expert)) continue;
        step.kernels.glu(site.act == 2 ? Gate::gelu_tanh : Gate::silu, g + n * kStripRows,
                         u + n * kStripRows, columns,
                         step.at(task.out_off) + i * site.out_stride * 4 + site.col[0] + row0);
        ++n;
      }
    }
  });
}

void run_experts_down(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  const size_t rows = step.batch.tokens, choices = rows * site.active;
  if (rows == 0) return;
  route(step, task);
  const Param& down = step.model.params[site.w[0]];
  const float* in = step.at(task.in_off);
  Activations x = {reinterpret_cast<const uint8_t*>(in), size_t{site.in_stride} * 16, choices};
  if (kind_info(down.shape.kind).integer) {
    x = quantised(step, in, size_t{site.in_stride} * 4, choices, site.k,
                  step.scratch.quants.data());
  }
  const size_t strips = down.shape.strips, stop = task.w_tile0 + size_t{task.w_tiles};
  float* sum = step.scratch.total.data();
  float* made = step.scratch.out.data();
  for (size_t strip = task.w_tile0; strip < std::min(stop, strips); ++strip) {
    std::fill(sum, sum + rows * kStripRows, 0.0f);
    each_used(step, site, [&](size_t expert) {
      const Activations mine = gather(step, site, x, down.shape.kind, expert, 1);
      multiply(step, down, down.expert(expert), strip, 1, mine, made, kStripRows);
      size_t n = 0;
      for (size_t i = 0; i < choices; ++i) {
        if (step.scratch.chosen[i] != static_cast<int32_t>(expert)) continue;
        float* y = sum + i / site.active * kStripRows;
        const float weight = step.scratch.weights[i];
        for (size_t c = 0; c < kStripRows; ++c) y[c] += weight * made[n * kStripRows + c];
        ++n;
      }
    });
    const size_t row0 = strip * kStripRows;
    const size_t columns = std::min<size_t>(kStripRows, site.rows[0] - row0);
    for (size_t row = 0; row < rows; ++row) {
      float* y = sum + row * kStripRows;
      if (site.scale != 1.0f) step.kernels.scale(y, site.scale, columns, y);
      if (site.cap != 0.0f) step.kernels.softcap(y, site.cap, columns, y);
      float* out = step.at(task.out_off) + row * site.out_stride * 4 + site.col[0] + row0;
      if (site.has(site_add)) {
        step.kernels.add(out, y, columns, out);
      } else {
        std::copy(y, y + columns, out);
      }
    }
  }
}

}  // namespace treadle::cpu
