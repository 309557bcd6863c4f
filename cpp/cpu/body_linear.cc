// LINEAR: strips of up to three weights times loaded rows, and the epilogue.
#include <algorithm>

#include "cpu/step.h"

namespace treadle::cpu {

namespace {

// A run of neighbouring strips of one weight.
struct Run {
  size_t part, first, count;
};

// Calls fn(run) for a range of packed strips: groups of lanes, padding left out.
template <class Fn>
void each_run(const Site& site, size_t first, size_t count, Fn fn) {
  size_t group_strips = 0;
  for (size_t j = 0; j < site.parts; ++j) group_strips += site.lane[j] / kStripRows;
  Run run{0, 0, 0};
  for (size_t s = first; s < first + count; ++s) {
    size_t part = 0, at = s % group_strips;
    while (at >= site.lane[part] / kStripRows) at -= site.lane[part++] / kStripRows;
    const size_t strip = s / group_strips * (site.lane[part] / kStripRows) + at;
    if (strip * kStripRows >= site.rows[part]) continue;
    if (run.count && run.part == part && run.first + run.count == strip) {
      ++run.count;
      continue;
    }
    if (run.count) fn(run);
    run = {part, strip, 1};
  }
  if (run.count) fn(run);
}

bool plain(const Site& site, size_t part) {
  return site.b[part] == kNone && site.scale == 1.0f && site.cap == 0.0f && !site.has(site_add);
}

// Bias, scale and cap of columns `col` .. of one row of y.
void finish(const StepView& step, const Site& site, size_t part, size_t row0, size_t columns,
            float* y) {
  const Kernels& k = step.kernels;
  if (site.b[part] != kNone) k.add(y, step.values(site.b[part]) + row0, columns, y);
  if (site.scale != 1.0f) k.scale(y, site.scale, columns, y);
  if (site.cap != 0.0f) k.softcap(y, site.cap, columns, y);
}

struct Target {
  float* out;  // of the first loaded row
  size_t stride;
  size_t rows;
};

void run_plain(const StepView& step, const Task& task, const Loaded& x, const Target& to) {
  const Site& site = step.site(task);
  float* y = step.scratch.out.data();
  const size_t most = std::max<size_t>(1, step.scratch.out.size() / (to.rows * kStripRows));
  each_run(site, task.w_tile0, task.w_tiles, [&](const Run& run) {
    const Param& param = step.model.params[site.w[run.part]];
    const Activations& in = x.of(param.shape.kind);
    for (size_t done = 0; done < run.count;) {
      const size_t first = run.first + done, row0 = first * kStripRows;
      float* out = to.out + site.col[run.part] + row0;
      if (plain(site, run.part)) {
        multiply(step, param, param.packed, first, run.count, in, out, to.stride);
        return;
      }
      const size_t count = std::min(most, run.count - done), stride = count * kStripRows;
      multiply(step, param, param.packed, first, count, in, y, stride);
      const size_t columns = std::min<size_t>(stride, site.rows[run.part] - row0);
      for (size_t t = 0; t < to.rows; ++t) {
        float* made = y + t * stride;
        finish(step, site, run.part, row0, columns, made);
        float* row = out + t * to.stride;
        if (site.has(site_add)) {
          step.kernels.add(row, made, columns, row);
        } else {
          std::copy(made, made + columns, row);
        }
      }
      done += count;
    }
  });
}

// Pairs of strips: gate and up.
void run_gated(const StepView& step, const Task& task, const Loaded& x, const Target& to) {
  const Site& site = step.site(task);
  const Param& gate = step.model.params[site.w[0]];
  const Param& up = step.model.params[site.w[1]];
  float* g = step.scratch.gate.data();
  float* u = step.scratch.out.data();
  const Gate act = site.act == 2 ? Gate::gelu_tanh : Gate::silu;
  const size_t end = std::min<size_t>((task.w_tile0 + task.w_tiles) / 2,
                                      (site.rows[0] + kStripRows - 1) / kStripRows);
  const size_t most = std::max<size_t>(1, step.scratch.out.size() / (to.rows * kStripRows));
  for (size_t first = task.w_tile0 / 2; first < end;) {
    const size_t count = std::min(most, end - first), stride = count * kStripRows;
    multiply(step, gate, gate.packed, first, count, x.of(gate.shape.kind), g, stride);
    multiply(step, up, up.packed, first, count, x.of(up.shape.kind), u, stride);
    const size_t row0 = first * kStripRows;
    const size_t columns = std::min<size_t>(stride, site.rows[0] - row0);
    for (size_t t = 0; t < to.rows; ++t) {
      finish(step, site, 0, row0, columns, g + t * stride);
      finish(step, site, 1, row0, columns, u + t * stride);
      float* out = to.out + t * to.stride + site.col[0] + row0;
      float* made = site.has(site_add) ? g + t * stride : out;
      step.kernels.glu(act, g + t * stride, u + t * stride, columns, made);
      if (site.has(site_add)) step.kernels.add(out, made, columns, out);
    }
    first += count;
  }
}

}  // namespace

void run_linear(const StepView& step, const Task& task) {
  // A prefill's rows by so many: a block of them stays in the L2 cache while the strips pass.
  constexpr size_t block = 128;
  const Site& site = step.site(task);
  const Share mine = share_of(step.count(site), task, 16);
  if (mine.first == mine.end) return;
  const Loaded x = load_rows(step, task, mine.first, mine.end - mine.first);
  for (size_t first = mine.first; first < mine.end; first += block) {
    const size_t rows = std::min(block, mine.end - first);
    const Loaded part = x.slice(first - mine.first, rows);
    const Target to = {step.at(task.out_off) + first * site.out_stride * 4,
                       size_t{site.out_stride} * 4, rows};
    if (site.act) {
      run_gated(step, task, part, to);
    } else {
      run_plain(step, task, part, to);
    }
  }
}

}  // namespace treadle::cpu
