// The fold: partials of one row's query head over its segments, in their order, to one output.
#pragma once

namespace treadle::mega {

constexpr int kSegments = Model::kPages / Model::kSegmentPages;
static_assert(kSegments * kRecord * 3 + Model::kHead <= Model::kScratch);

template <class P>
TM_DEVICE void fold_head(const Args& a, Smem& s, int row, int head, int warp, int lane,
                         uint32_t read, uint32_t epoch) {
  constexpr int d = Model::kHead, kMost = (kSegments * kRecord + 255) / 256;
  const int tid = warp * 32 + lane;
  const int segments = s.position[row] / (kPage * Model::kSegmentPages) + 1;
  uint4 v[kMost];
  uint32_t mask = 0;
#pragma unroll
  for (int i = 0; i < kMost; i++)
    if (tid + 256 * i < segments * kRecord) mask |= 1u << i;
  auto place = [&](int i) {
    const int p = tid + 256 * i;
    return P::in + ((p / kRecord * Model::kRows + row) * Model::kHeads + head) * kRecord +
           p % kRecord;
  };
  poll(a, place, mask, read, P::index, v);
  stamp(a, read + 1, warp, lane, 1);
  bar_sync(1);  // the scratch memory was the input of a linear
#pragma unroll
  for (int i = 0; i < kMost; i++) {
    const int p = tid + 256 * i;
    if (p >= segments * kRecord) continue;
    float* to = s.scratch + p * 3;
    to[0] = float_of(v[i].x), to[1] = float_of(v[i].y), to[2] = float_of(v[i].z);
  }
  bar_sync(1);
  const int warps = (d + 31) / 32;
  if (warp < warps) {
    float most = -INFINITY, total = 0, o = 0;
    for (int g = 0; g < segments; g++) {
      const float m = s.scratch[g * kRecord * 3];
      most = m > most ? m : most;
    }
    for (int g = 0; g < segments; g++) {
      const float* part = s.scratch + g * kRecord * 3;
      const float weight = power2(part[0] - most);
      total += weight * part[1];
      o += weight * part[2 + tid];
    }
    float* out = s.scratch + kSegments * kRecord * 3;
    out[tid] = o / total;
    warp_sync();
    constexpr int kEach = packets_of(16);
    if (lane < 2 * kEach) {
      const int from = warp * 32 + lane / kEach * 16 + lane % kEach * 6, n = 16 - lane % kEach * 6;
      float x[6];
#pragma unroll
      for (int e = 0; e < 6; e++) x[e] = e < n ? out[from + e] : 0.f;
      const int to =
          P::out + row * (P::n / 16 * kEach) + (head * d + from) / 16 * kEach + lane % kEach;
      store_packet(fresh(a.packets) + to, make_uint4(pair_of(x[0], x[1]), pair_of(x[2], x[3]),
                                                     pair_of(x[4], x[5]), epoch));
    }
  }
  bar_sync(1);
}

}  // namespace treadle::mega
