// EMBED, PREP and SAMPLE: work dealt by rows.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/step.h"

namespace treadle::cpu {

void run_embed(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  const Param& table = step.model.params[site.w[0]];
  const auto* drawn = reinterpret_cast<const int32_t*>(step.at(step.bound.plan.head.tokens_off));
  const Share mine = share_of(step.count(site), task);
  for (size_t row = mine.first; row < mine.end; ++row) {
    int32_t id = step.batch.ids[row];
    if (id < 0) std::memcpy(&id, drawn + (-1 - static_cast<int64_t>(id)), sizeof id);
    // Given ids were checked when they were posted; a drawn one is below the vocabulary.
    const size_t at = std::min(static_cast<size_t>(std::max(id, 0)), table.shape.rows - 1);
    float* out = step.at(task.out_off) + row * site.out_stride * 4;
    unpack_row(table.shape, table.packed, at, out);
    if (site.scale != 1.0f) step.kernels.scale(out, site.scale, site.n, out);
  }
}

void run_prep(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  const Share mine = share_of(step.count(site), task);
  float* h = step.scratch.rows.data();
  for (size_t row = mine.first; row < mine.end; ++row) {
    const float* sum = nullptr;
    const float* made = load_row(step, task, row, h, &sum);
    if (task.aux_off != kNone) {
      std::copy(sum, sum + site.k, step.at(task.aux_off) + row * site.aux_stride * 4);
    }
    float* out = step.at(task.out_off) + row * site.out_stride * 4;
    if (step.use(task).writes_int8) {
      step.kernels.quantise(made, site.k, reinterpret_cast<uint8_t*>(out));
    } else {
      std::copy(made, made + site.k, out);
    }
  }
}

void run_sample(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  const Draw& draw = step.draw;
  DrawnRows& drawn = step.drawn;
  const Share mine = share_of(step.count(site), task);
  auto* out = reinterpret_cast<uint8_t*>(step.at(task.out_off));
  for (size_t row = mine.first; row < mine.end; ++row) {
    RowDraw made;
    made.token = row < draw.given.size() ? draw.given[row] : -1;
    if (made.token < 0) {
      const uint32_t* mask = nullptr;
      if (row < draw.mask_row.size() && draw.mask_row[row] >= 0) {
        mask = draw.mask + static_cast<size_t>(draw.mask_row[row]) * draw.mask_stride;
      }
      const float* logits = step.at(task.in_off) + row * site.in_stride * 4;
      const RowRule rule = row < draw.rules.size() ? draw.rules[row] : RowRule{};
      made = draw_row(step.kernels, logits, site.k, mask, rule, step.scratch.sample,
                      drawn.top_ids.data() + row * drawn.tops,
                      drawn.top_logprobs.data() + row * drawn.tops);
    }
    std::memcpy(out + row * sizeof made.token, &made.token, sizeof made.token);
    drawn.set(row, made);
  }
}

}  // namespace treadle::cpu
