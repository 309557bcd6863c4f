// The draw and the step's boundary: every worker offers its best logit, every worker reads all
// offers and takes the same token; then what the next step needs is made ready.
#pragma once

#include "hop.cuh"

// The order matters: each uses what comes before.
#include "agree.cuh"
#include "boxes.cuh"
#include "philox.cuh"
#include "sample.cuh"

namespace treadle::mega {

/// Ends the step: tokens to the host and to the next step, or the news that there is none.
template <class P>
TM_DEVICE void settle(const Args& a, Smem& s, int warp, int lane, uint32_t epoch, uint32_t told) {
  const int tid = warp * 32 + lane;
  if (tid < Model::kRows) {
    const uint64_t key = a.boxes == nullptr ? chosen(s, tid) : s.first[tid];
    const uint32_t status = key == kBroken ? 2u : key == 0 ? 1u : 0u;
    const uint32_t token = status ? ~0u : ~static_cast<uint32_t>(key);
    if (worker() == 0)
      a.tokens[s.step * Model::kRows + tid] =
          make_uint4(token, static_cast<uint32_t>(s.position[tid] + 1), status, epoch);
    s.token[tid] = status ? 0 : static_cast<int32_t>(token);
    s.position[tid]++;
  }
  bar_sync(1);
  if (warp == 0) {
    const uint32_t next = s.step + 1;
    const bool on = goes_on<P>(a, s, next, lane, epoch, told);
    warp_sync();  // all lanes have read which step it was
    if (lane == 0) s.step = next, s.over = !on;
  }
  if (a.seats != nullptr) bar_sync(1);  // rows may have changed hands
}

/// The draw: greedy from what each worker has kept of its logits, or by the rules of the step's
/// box.
template <class P>
TM_DEVICE void draw_token(const Args& a, Smem& s, int warp, int lane, uint32_t epoch,
                          uint32_t told) {
  if (a.boxes == nullptr) {
    hop<P>(a, s, warp, lane, epoch, told, P::out, Model::kWorkers);
    agree<P>(a, s, warp, lane, epoch, told, kGreatest);
  } else {
    bar_sync(1);  // all logits of this worker are written
    draw_ruled<P>(a, s, warp, lane, epoch, told);
  }
  settle<P>(a, s, warp, lane, epoch, told);
}

/// This worker's items of attention in layers of a kind, by one thread: its share of all segments
/// of all rows by the positions seen in them (docs/mega-plan.md, section 5).
template <class P>
TM_DEVICE void deal_items(Smem& s, int kind) {
  const uint4 r = s.ranges[P::index][0];  // first head, heads, part, parts
  int total = 0, before = 0, count = 0;
  for (int row = 0; row < Model::kRows; row++)
    total += (s.position[row] + 1 - seen_from(kind, s.position[row])) * static_cast<int>(r.y);
  const int64_t from = static_cast<int64_t>(total) * r.z / r.w;
  const int64_t to = static_cast<int64_t>(total) * (r.z + 1) / r.w;
  for (int row = 0; row < Model::kRows; row++) {
    const int length = s.position[row] + 1, begin = seen_from(kind, s.position[row]);
    const int segment = kPage * segment_pages(kind, s.position[row]);
    const int segments = segments_of(kind, s.position[row]);
    for (uint32_t head = r.x; head < r.x + r.y; head++) {
      for (int i = begin / segment; i < segments; i++) {
        if (before >= from && before < to && count < Model::kItems)
          s.items[kind][count++] = {row, static_cast<int32_t>(head), i};
        const int at = i * segment, end = i + 1 < segments ? at + segment : length;
        before += end - (kWindows && at < begin ? begin : at);
      }
    }
  }
  s.count[kind] = count;
}

/// Angles of the rows' positions, and the items of attention of the step.
template <class P>
TM_DEVICE void prepare(const Args& a, Smem& s, int tid) {
  for (int i = tid; !kFed && i < Model::kRows * Model::kTurned; i += 256) {
    const int row = i / Model::kTurned, at = i % Model::kTurned;
#pragma unroll
    for (int table = 0; table < Model::kRopes; table++) {
      const float by = load_constant(a.pool + table * Model::kRope1 + at);
      float sine, cosine;
      turn_of(static_cast<float>(s.position[row]) * by, sine, cosine);
      s.rope[table][row][0][at] = cosine * Model::kMscale;
      s.rope[table][row][1][at] = sine * Model::kMscale;
    }
  }
  if (tid == 0) deal_items<P>(s, 0);
  if constexpr (Model::kKinds > 1) {
    if (tid == 32) deal_items<P>(s, 1);
  }
  bar_sync(1);
  if (tid == 0) mb_arrive(&s.go);
}

}  // namespace treadle::mega
