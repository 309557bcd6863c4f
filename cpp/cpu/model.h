// What a plan is bound to: weights, KV states, and what follows from both for each site.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/plan.h"
#include "support/result.h"

namespace treadle::cpu {

// A param of the graph. Norms, biases and rope frequencies are f32 `values`; matrices are packed,
// those of experts one after the other, each packed on its own.
struct Param {
  const float* values = nullptr;
  size_t count = 0;
  const uint8_t* packed = nullptr;
  Shape shape = {};
  size_t experts = 1;

  const uint8_t* expert(size_t e) const { return packed + e * shape.bytes(); }
};

// KV pages of one layer: [pages][kv_heads][K: size x 16 | V: 16 x size], f16, `stride` elements
// from page to page (0: one after the other).
struct State {
  uint16_t* data = nullptr;
  size_t pages = 0;
  size_t kv_heads = 0;
  size_t size = 0;
  size_t stride = 0;

  size_t page_stride() const { return stride ? stride : kv_heads * 2 * kPage * size; }
  KvHead head(size_t h) const { return {data + h * 2 * kPage * size, page_stride(), size}; }
};

struct Model {
  std::vector<Param> params;
  std::vector<State> states;
};

// One rotation: pairs of inverse frequencies and a factor. Sites share them.
struct Rotation {
  uint32_t freq;
  uint32_t pairs;
  float mscale;
};

// What a site means for these weights.
struct SiteUse {
  bool integers = false;      // some weight wants int8 rows
  bool floats = false;        // some weight wants f32 rows
  bool writes_int8 = false;   // PREP: all readers of its rows want int8
  uint32_t rotation = kNone;  // index into BoundPlan::rotations
};

// A plan checked against a model.
struct BoundPlan {
  Plan plan;
  std::vector<SiteUse> uses;
  std::vector<Rotation> rotations;
  size_t widest_load = 0;  // k of the widest rows that LINEAR and EXPERTS load, elements
  size_t most_loaded = 1;  // rows that such a loader makes at most
  size_t pages = 0;        // of the smallest state
};

// Raises nothing: a Status that names site and param where shapes, kinds or states do not fit.
Result<BoundPlan> bind_plan(Plan plan, const Model& model);

}  // namespace treadle::cpu
