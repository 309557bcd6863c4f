// A compiled plan as it lies in tasks.bin (docs/mega-plan.md): records read in place, nothing
// trusted. What a task may touch is checked once, here, so that bodies need not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/result.h"

namespace treadle::cpu {

inline constexpr uint32_t kNone = 0xFFFFFFFF;

enum class Op : uint16_t {
  embed = 1,
  prep,
  linear,
  kv,
  attn,
  fold,
  experts_up,
  experts_down,
  keys,
  sample,
};

enum SiteFlag : uint16_t {
  site_wanted = 1,
  site_take = 2,
  site_fold = 4,
  site_add = 8,
  site_append = 16,
  site_split = 32,
  site_staged = 64,
};

inline constexpr uint8_t task_first = 32;

struct Task {
  uint16_t op;
  uint8_t n_wait, flags;
  uint32_t wait0, need0, wait1, need1, sig;
  uint32_t w_tile0, w_tiles;
  uint32_t in_off, out_off, aux_off;
  uint16_t row0, rows, k0, klen;
  uint32_t p0, p1, p2;

  uint32_t part() const { return p1 & 0xFFFF; }
  uint32_t parts() const { return p1 >> 16; }
  uint32_t first() const { return p2 & 0xFFFF; }
  uint32_t count() const { return p2 >> 16; }
};
static_assert(sizeof(Task) == 64);

struct Site {
  uint16_t op, flags, act, parts;
  uint32_t k, n;
  uint32_t w[3], b[3], rows[3], lane[3], col[3];
  uint32_t norm;
  float norm_eps;
  uint32_t post;
  float post_eps;
  uint32_t terms_off, terms, term_stride, rank_stride;
  uint32_t in_stride, out_stride, aux_stride;
  float scale, cap;
  uint32_t heads, kv_heads, head, window;
  uint32_t q_norm, k_norm;
  float q_eps, k_eps;
  uint32_t freq, turned;
  float mscale;
  uint32_t state, experts, active, score, zero;

  bool has(SiteFlag flag) const { return flags & flag; }
};
static_assert(sizeof(Site) == 192);

struct PlanCounter {
  uint32_t need;
  uint8_t scope, kind, carrier, zero;
};
static_assert(sizeof(PlanCounter) == 8);

struct Segment {
  uint32_t repeat, site_stride, counter_stride, zero;
};
static_assert(sizeof(Segment) == 16);

struct PlanHeader {
  char magic[4];
  uint32_t version, workers, segments, counters, sites, tasks;
  uint32_t arena, rows, slots, context, page, segment, ranks, tile_k, weights, states;
  uint32_t logits_off, logits_stride, tokens_off, vocab, group;
  uint32_t zero[10];
};
static_assert(sizeof(PlanHeader) == 128);

inline constexpr uint32_t counter_posted = 0, counter_bound = 1, counter_done = 2;

struct Plan {
  PlanHeader head;
  std::vector<Segment> segments;
  std::vector<uint32_t> index;  // [segments][workers + 1]
  std::vector<PlanCounter> counters;
  std::vector<Site> sites;
  std::vector<Task> tasks;

  std::span<const Task> list(size_t segment, size_t worker) const {
    const uint32_t* row = &index[segment * (head.workers + 1)];
    return {tasks.data() + row[worker], tasks.data() + row[worker + 1]};
  }
};

// A task of a template in its r-th repeat.
Task shifted(const Task& task, const Segment& segment, uint32_t r);

// Reads tasks.bin. Sections, indices, counters, arena ranges and shares are checked; what depends
// on weights and states is checked where those are bound (bindings.h). Refused: several ranks,
// parts of k, lanes that are no whole strips, pages of other than 16 positions.
Result<Plan> read_plan(std::span<const uint8_t> bytes);

}  // namespace treadle::cpu
