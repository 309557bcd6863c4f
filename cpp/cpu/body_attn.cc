// KV, ATTN and FOLD: rotation and append, attention over segments, and the fold of its partials.
#include <algorithm>
#include <cstring>

#include "cpu/step.h"

namespace treadle::cpu {

namespace {

// Head norm and rotation of `heads` heads of one row, from x to y (which may be x).
void turn(const StepView& step, const Task& task, const float* x, size_t heads, uint32_t norm,
          float eps, size_t row, float* y) {
  const Site& site = step.site(task);
  for (size_t h = 0; h < heads; ++h) {
    const float* from = x + h * site.head;
    float* to = y + h * site.head;
    if (norm != kNone) {
      step.kernels.rmsnorm(from, step.values(norm), site.head, eps, to);
    } else if (from != to) {
      std::memcpy(to, from, site.head * sizeof(float));
    }
  }
  const uint32_t rotation = step.use(task).rotation;
  if (rotation == kNone) return;
  const size_t at = (rotation * step.bound.plan.head.rows + row) * step.scratch.pairs;
  step.kernels.rope(y, heads, site.head, site.head, &step.scratch.cosines[at],
                    &step.scratch.sines[at], site.turned);
}

void append(const StepView& step, const Task& task, size_t head, size_t row, const float* k,
            const float* v) {
  const Site& site = step.site(task);
  const auto slot = static_cast<size_t>(step.batch.slots[row]);
  step.kernels.kv_write(step.model.states[site.state].head(head), slot / kPage, slot % kPage, k, v);
}

struct Piece {
  size_t slot, head, first, end, segment;
};

size_t lowest_seen(size_t position, size_t window) {
  return window && position + 1 > window ? position + 1 - window : 0;
}

// Calls fn(piece, cost) for the items of an attention in their fixed order.
template <class Fn>
void each_piece(const StepView& step, const Task& task, Fn fn) {
  const Site& site = step.site(task);
  const Batch& batch = step.batch;
  const size_t size = step.bound.plan.head.segment;
  for (size_t slot = 0; slot < batch.sequences; ++slot) {
    const auto first = static_cast<size_t>(batch.starts[slot]);
    const auto end = static_cast<size_t>(batch.starts[slot + 1]);
    if (first == end) continue;
    const auto length = static_cast<size_t>(batch.lens[slot]);
    const size_t position = length - (end - first), low = lowest_seen(position, site.window);
    for (size_t head = task.first(); head < task.first() + task.count(); ++head) {
      if (site.has(site_split)) {
        for (size_t s = low / size; s <= (length - 1) / size; ++s) {
          fn(Piece{slot, head, first, end, s},
             std::min((s + 1) * size, length) - std::max(s * size, low));
        }
        continue;
      }
      for (size_t at = first; at < end; at += 16) {
        const size_t stop = std::min(at + 16, end), from = position + at - first;
        fn(Piece{slot, head, at, stop, 0},
           (stop - at) * (position + stop - first - lowest_seen(from, site.window)));
      }
    }
  }
}

AttentionItem item_of(const StepView& step, const Task& task, const Piece& piece) {
  const Site& site = step.site(task);
  AttentionItem item{};
  item.group = site.heads / site.kv_heads;
  item.rows = item.group * (piece.end - piece.first);
  item.position = static_cast<size_t>(step.batch.pos[piece.first]);
  item.window = site.window;
  item.scale = site.scale;
  item.softcap = site.cap;
  item.segment = step.bound.plan.head.segment;
  item.kv = step.model.states[site.state].head(piece.head);
  item.table = step.batch.table.data() + piece.slot * step.batch.table_width;
  return item;
}

// Partials of rows from `row` on, of one KV head, in segment 0.
AttentionPartials partials_at(const StepView& step, const Site& site, float* base, size_t stride,
                              size_t row, size_t head) {
  const size_t group = site.heads / site.kv_heads, width = size_t{site.heads} * site.head;
  float* record = base + row * stride;
  return {record + width + head * group, record + width + site.heads + head * group,
          record + head * group * site.head, stride, step.bound.plan.head.rows * stride};
}

void attend_split(const StepView& step, const Task& task, const Piece& piece) {
  const Site& site = step.site(task);
  const size_t group = site.heads / site.kv_heads, size = site.head;
  const size_t q_width = size_t{site.heads} * size, kv_width = size_t{site.kv_heads} * size;
  float* heads = step.scratch.heads.data();
  float* key = heads + (piece.end - piece.first) * group * size;
  for (size_t row = piece.first; row < piece.end; ++row) {
    const float* x = step.at(task.in_off) + row * site.in_stride * 4;
    turn(step, task, x + piece.head * group * size, group, site.q_norm, site.q_eps, row,
         heads + (row - piece.first) * group * size);
    const auto position = static_cast<size_t>(step.batch.pos[row]);
    if (!site.has(site_append) || position / step.bound.plan.head.segment != piece.segment)
      continue;
    turn(step, task, x + q_width + piece.head * size, 1, site.k_norm, site.k_eps, row, key);
    append(step, task, piece.head, row, key, x + q_width + kv_width + piece.head * size);
  }
  AttentionItem item = item_of(step, task, piece);
  item.q = heads;
  item.query_stride = group * size;
  item.head_stride = size;
  AttentionPartials out =
      partials_at(step, site, step.at(task.out_off), site.out_stride * 4, piece.first, piece.head);
  out.m += piece.segment * out.segment_stride;
  out.l += piece.segment * out.segment_stride;
  out.o += piece.segment * out.segment_stride;
  step.kernels.attend(item, piece.segment, out);
}

void attend_whole(const StepView& step, const Task& task, const Piece& piece) {
  const Site& site = step.site(task);
  const size_t at = piece.head * (site.heads / site.kv_heads) * site.head;
  AttentionItem item = item_of(step, task, piece);
  item.query_stride = site.in_stride * 4;
  item.head_stride = site.head;
  item.q = step.at(task.in_off) + piece.first * item.query_stride + at;
  step.kernels.attention(item, step.at(task.out_off) + piece.first * site.out_stride * 4 + at,
                         site.out_stride * 4, site.head);
}

}  // namespace

void turn_rows(const StepView& step) {
  Scratch& scratch = step.scratch;
  for (size_t i = 0; i < step.bound.rotations.size(); ++i) {
    const Rotation& rotation = step.bound.rotations[i];
    for (size_t row = 0; row < step.batch.tokens; ++row) {
      const size_t at = (i * step.bound.plan.head.rows + row) * scratch.pairs;
      rope_table(step.batch.pos[row], step.values(rotation.freq), rotation.pairs, rotation.mscale,
                 &scratch.cosines[at], &scratch.sines[at]);
    }
  }
}

void run_kv(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  const size_t q_width = size_t{site.heads} * site.head;
  const size_t kv_width = size_t{site.kv_heads} * site.head;
  float* keys = step.scratch.heads.data();
  const Share mine = share_of(step.count(site), task);
  for (size_t row = mine.first; row < mine.end; ++row) {
    const float* x = step.at(task.in_off) + row * site.in_stride * 4;
    turn(step, task, x + q_width, site.kv_heads, site.k_norm, site.k_eps, row, keys);
    for (size_t head = 0; head < site.kv_heads; ++head) {
      append(step, task, head, row, keys + head * site.head,
             x + q_width + kv_width + head * site.head);
    }
    turn(step, task, x, site.heads, site.q_norm, site.q_eps, row,
         step.at(task.out_off) + row * site.out_stride * 4);
  }
}

void run_attn(const StepView& step, const Task& task) {
  uint64_t total = 0, before = 0;
  each_piece(step, task, [&](const Piece&, size_t cost) { total += cost; });
  const uint64_t low = total * task.part() / task.parts();
  const uint64_t high = total * (task.part() + 1) / task.parts();
  each_piece(step, task, [&](const Piece& piece, size_t cost) {
    if (before >= low && before < high) {
      if (step.site(task).has(site_split)) {
        attend_split(step, task, piece);
      } else {
        attend_whole(step, task, piece);
      }
    }
    before += cost;
  });
}

// Row `row` of the attention whose partials lie at in_off: the heads from `head0` on.
void fold_row(const StepView& step, const Task& task, size_t row, size_t head0, size_t heads,
              float* out) {
  const Site& site = step.site(task);
  const size_t group = site.heads / site.kv_heads;
  AttentionItem item{};
  item.group = group;
  item.rows = group;
  item.position = static_cast<size_t>(step.batch.pos[row]);
  item.window = site.window;
  item.segment = step.bound.plan.head.segment;
  item.kv.size = site.head;
  for (size_t head = head0; head < head0 + heads; ++head) {
    const AttentionPartials parts =
        partials_at(step, site, step.at(task.in_off), site.in_stride * 4, row, head);
    step.kernels.fold(item, parts, out + head * group * site.head, 0, site.head);
  }
}

void run_fold(const StepView& step, const Task& task) {
  const Site& site = step.site(task);
  const Share mine = share_of(step.count(site) * task.count(), task);
  for (size_t i = mine.first; i < mine.end; ++i) {
    const size_t row = i / task.count(), head = task.first() + i % task.count();
    fold_row(step, task, row, head, 1, step.at(task.out_off) + row * site.out_stride * 4);
  }
}

}  // namespace treadle::cpu
