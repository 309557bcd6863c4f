// The draw and the step's boundary: every worker offers its best logit, every worker reads all
// offers and takes the same token; then what the next step needs is made ready.
#pragma once

namespace treadle::mega {

TM_DEVICE uint64_t better(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

/// Greedy: the largest logit, ties to the lowest id. One hop for the whole grid.
template <class P>
TM_DEVICE void draw_best(const Args& a, Smem& s, int warp, int lane, uint32_t epoch,
                         uint32_t told) {
  constexpr int kWorkers = Model::kWorkers;
  static_assert(kWorkers <= 256);
  const int tid = warp * 32 + lane;
  bar_sync(1);
  if (tid < Model::kRows) {
    uint64_t key = 0;
    for (int w = 0; w < kWarps; w++) {
      key = better(key, s.best[0][w][tid]);
      s.best[0][w][tid] = 0;  // nobody adds to it before the next step
    }
    fence_grid();  // what this worker appended to KV and wrote as logits goes before its offer
    store_packet(fresh(a.packets) + P::out + tid * kWorkers + fresh(worker()),
                 make_uint4(static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), 0, told));
  }
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    uint4 v[1] = {make_uint4(0, 0, 0, 0)};
    poll(
        a, [&](int) { return P::out + row * kWorkers + tid; }, tid < kWorkers ? 1u : 0u, epoch,
        P::index, v);
    uint64_t key = v[0].x | static_cast<uint64_t>(v[0].y) << 32;
#pragma unroll
    for (int m = 16; m; m >>= 1) key = better(key, shfl_xor(key, m));
    if (lane == 0) s.best[1][warp][row] = key;
  }
  fence_grid();
  bar_sync(1);
  if (tid < Model::kRows) {
    uint64_t key = 0;
    for (int w = 0; w < kWarps; w++) key = better(key, s.best[1][w][tid]);
    const uint32_t token = ~static_cast<uint32_t>(key);
    if (worker() == 0)
      a.tokens[s.step * Model::kRows + tid] =
          make_uint4(token, static_cast<uint32_t>(s.position[tid] + 1), s.step, epoch);
    s.token[tid] = static_cast<int32_t>(token);
    s.position[tid]++;
  }
  bar_sync(1);
  if (tid == 0) s.step++;
}

/// Angles of the rows' positions, and this worker's items of attention: its share of all segments
/// of all rows by the positions in them (docs/mega-plan.md, section 5).
template <class P>
TM_DEVICE void prepare(const Args& a, Smem& s, int tid) {
  for (int i = tid; i < Model::kRows * Model::kTurned; i += 256) {
    const int row = i / Model::kTurned, at = i % Model::kTurned;
    const float angle = static_cast<float>(s.position[row]) * load_constant(a.pool + at);
    float sine, cosine;
    turn_of(angle, sine, cosine);
    s.rope[row][0][at] = cosine * Model::kMscale;
    s.rope[row][1][at] = sine * Model::kMscale;
  }
  if (tid == 0) {
    const uint4 r = s.ranges[P::index][0];  // first head, heads, part, parts
    constexpr int kSegment = kPage * Model::kSegmentPages;
    int total = 0, before = 0, count = 0;
    for (int row = 0; row < Model::kRows; row++)
      total += (s.position[row] + 1) * static_cast<int>(r.y);
    const int64_t from = static_cast<int64_t>(total) * r.z / r.w;
    const int64_t to = static_cast<int64_t>(total) * (r.z + 1) / r.w;
    for (int row = 0; row < Model::kRows; row++) {
      const int length = s.position[row] + 1;
      for (uint32_t head = r.x; head < r.x + r.y; head++) {
        for (int at = 0; at < length; at += kSegment) {
          if (before >= from && before < to && count < Model::kItems)
            s.items[count++] = {row, static_cast<int32_t>(head), at / kSegment};
          before += length - at < kSegment ? length - at : kSegment;
        }
      }
    }
    s.count = count;
  }
  bar_sync(1);
  if (tid == 0) mb_arrive(&s.go);
}

}  // namespace treadle::mega
