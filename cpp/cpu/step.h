// One step as the bodies see it: the batch, how to draw, and a worker's scratch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/model.h"
#include "cpu/room.h"
#include "cpu/sample.h"

namespace treadle::cpu {

// The seven arrays of a batch: `tokens` ids, pos, slots; starts [sequences + 1], lens, table
// [sequences][table_width]; rows [wanted]. An id of -1 - j is token j of the step before.
struct Batch {
  std::vector<int32_t> ids, pos, slots, starts, lens, table, rows;
  size_t tokens = 0, sequences = 0, wanted = 0, table_width = 0;
};

// How each wanted row gets its token. `mask` [masks][stride] words, bit = 1 is legal; mask_row[r]
// is the row's mask or -1 for none; given[r] >= 0 is a token drawn elsewhere. Empty vectors: none;
// without rules the best token is taken. `ids` and `values` hold what the rules' lists point to.
struct Draw {
  const uint32_t* mask = nullptr;
  size_t mask_stride = 0;
  std::vector<int32_t> mask_row, given;
  std::vector<RowRule> rules;
  std::vector<int32_t> ids;
  std::vector<float> values;
};

// What was drawn for each wanted row. tops: alternatives that a row has room for.
struct DrawnRows {
  std::vector<int32_t> tokens, top_ids;
  std::vector<uint8_t> status;
  std::vector<float> logprobs, top_logprobs;
  size_t tops = 0;

  // Everything untold; all rows without a token.
  void reset(size_t rows, size_t alternatives);
  void set(size_t row, const RowDraw& drawn);
};

// Memory of one worker, taken once; nothing in it is set before a body writes it.
struct Scratch {
  static constexpr size_t block = 16384;  // outputs held at a time, unless one strip has more

  Room<float> rows;            // loaded rows [most_loaded][widest], and one sum
  Room<uint8_t> quants;        // the same as QuantRows
  Room<float> out, gate;       // results of a block
  Room<float> heads;           // q of an attention item and one key, or the keys of a row
  Room<float> cosines, sines;  // [rotations][rows][pairs of the widest]
  Room<float> weights, total;  // of experts: [rows][active]; sums [rows][columns of a block]
  Room<int32_t> chosen;        // [rows][active]
  Room<uint8_t> gathered;      // rows of one expert, QuantRows or f32
  size_t pairs = 0;            // of the widest rotation
  SampleScratch sample;

  // Large enough for every one of the plans.
  void grow(const BoundPlan& bound);
};

struct StepView {
  const BoundPlan& bound;
  const Model& model;
  const Kernels& kernels;
  float* arena;
  const Batch& batch;
  const Draw& draw;
  DrawnRows& drawn;  // for the host
  Scratch& scratch;

  const Site& site(const Task& task) const { return bound.plan.sites[task.p0]; }
  const SiteUse& use(const Task& task) const { return bound.uses[task.p0]; }
  float* at(uint32_t off) const { return arena + size_t{off} * 4; }
  const float* values(uint32_t id) const { return model.params[id].values; }
  size_t count(const Site& site) const {
    return site.has(site_wanted) ? batch.wanted : batch.tokens;
  }
};

// A share of n things in whole blocks: first .. end.
struct Share {
  size_t first, end;
};

inline Share share_of(size_t count, const Task& task, size_t block = 1) {
  const size_t blocks = (count + block - 1) / block;
  const size_t first = blocks * task.part() / task.parts() * block;
  const size_t end = blocks * (task.part() + 1) / task.parts() * block;
  return {first < count ? first : count, end < count ? end : count};
}

// The cosines and sines of every row of the batch, once a step and worker.
void turn_rows(const StepView& step);

// Rows first .. first + count as LINEAR and EXPERTS_UP read them, in whichever forms the site's
// weights want. They lie in scratch or in the arena. Columns of the sum before the norm go where
// the task asks for them.
struct Loaded {
  Activations integers{}, floats{};

  const Activations& of(Kind kind) const { return kind_info(kind).integer ? integers : floats; }
  Loaded slice(size_t first, size_t rows) const {
    return {{integers.data + first * integers.stride, integers.stride, rows},
            {floats.data + first * floats.stride, floats.stride, rows}};
  }
};

Loaded load_rows(const StepView& step, const Task& task, size_t first, size_t count);

// Row r of the loader of docs/mega-plan.md section 3. Returns h: in scratch `h` or in the arena;
// `sum` is set to the row before the norm.
const float* load_row(const StepView& step, const Task& task, size_t row, float* h,
                      const float** sum);

// `count` rows of f32, `stride` floats apart, as QuantRows at `to`.
Activations quantised(const StepView& step, const float* rows, size_t stride, size_t count,
                      size_t columns, uint8_t* to);

void fold_row(const StepView& step, const Task& task, size_t row, size_t head0, size_t heads,
              float* out);

// y = W h of strips first .. first + count of one weight, y's column 0 being that of strip `first`.
void multiply(const StepView& step, const Param& param, const uint8_t* packed, size_t first,
              size_t count, const Activations& x, float* y, size_t stride);

// The bodies; codes as in plan.h.
void run_embed(const StepView& step, const Task& task);
void run_prep(const StepView& step, const Task& task);
void run_linear(const StepView& step, const Task& task);
void run_kv(const StepView& step, const Task& task);
void run_attn(const StepView& step, const Task& task);
void run_fold(const StepView& step, const Task& task);
void run_experts_up(const StepView& step, const Task& task);
void run_experts_down(const StepView& step, const Task& task);
void run_sample(const StepView& step, const Task& task);

inline void run_body(const StepView& step, const Task& task) {
  switch (static_cast<Op>(task.op)) {
    case Op::embed:
      return run_embed(step, task);
    case Op::prep:
      return run_prep(step, task);
    case Op::linear:
      return run_linear(step, task);
    case Op::kv:
      return run_kv(step, task);
    case Op::attn:
      return run_attn(step, task);
    case Op::fold:
      return run_fold(step, task);
    case Op::experts_up:
      return run_experts_up(step, task);
    case Op::experts_down:
      return run_experts_down(step, task);
    case Op::sample:
      return run_sample(step, task);
    case Op::keys:
      return;  // refused by read_plan
  }
}

}  // namespace treadle::cpu
