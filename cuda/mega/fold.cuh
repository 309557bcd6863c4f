// Partials of one row's query head over its segments, in a fixed order, to one output.
#pragma once

namespace treadle::mega {

constexpr int kHeadPairs = Model::kHead / kPairColumns;  // pairs of 16 columns of a head

/// 32 columns of a head, by one warp: four segments at once, eight lanes each, six of which hold a
/// packet of o and one (m, l). What lane l < 6 has of them, divided by the weights' sum, is sent.
template <class P>
TM_DEVICE void fold_pair(const Args& a, Smem& s, int row, int head, int pair, int kind, int warp,
                         int lane, uint32_t read, uint32_t epoch) {
  constexpr int kTurns = (kSegments + 3) / 4 < 4 ? (kSegments + 3) / 4 : 4;
  constexpr int kSegmentStep = Model::kRows * Model::kHeads * kRecord;
  const int position = s.position[row], length = kPage * segment_pages(kind, position);
  const int from = seen_from(kind, position) / length, segments = segments_of(kind, position);
  const int j = lane % 8, ml = (lane & ~7) | 6;
  float most = -INFINITY, total = 0, x[6] = {};
#pragma unroll 1
  for (int first = from; first < segments; first += 4 * kTurns) {
    uint4 v[kTurns];
    uint32_t mask = 0;
    // Of the first turn; the others follow at constant distances.
    const int base = P::in + (row * Model::kHeads + head) * kRecord +
                     (kStretched ? 0 : first + lane / 8) * kSegmentStep +
                     (j < 6 ? pair * 6 + j : kRecord - 1);
    const auto place = [&](int i) {
      const int at = kStretched ? (first + lane / 8 + i * 4) % kSegments : i * 4;
      return base + at * kSegmentStep;
    };
#pragma unroll
    for (int i = 0; i < kTurns; i++)
      if (j < 7 && first + i * 4 + lane / 8 < segments) mask |= 1u << i;
    poll(a, place, mask, read, P::index, v);
    // Lanes without a column of o make sums that nobody reads, segments that are not there weigh
    // nothing: no branches, so that the turns do not wait for each other.
    float m[kTurns], l[kTurns], top = most;
#pragma unroll
    for (int i = 0; i < kTurns; i++) {
      m[i] = float_of(shfl(v[i].x, ml)), l[i] = float_of(shfl(v[i].y, ml));
      if (first + i * 4 + lane / 8 >= segments) m[i] = -INFINITY, l[i] = 0;
      top = m[i] > top ? m[i] : top;
    }
    const float from_top = top == -INFINITY ? 0.f : top;
    const float keep = power2(most - from_top);
    most = top;
    total *= keep;
#pragma unroll
    for (int e = 0; e < 6; e++) x[e] *= keep;
#pragma unroll
    for (int i = 0; i < kTurns; i++) {
      const float weight = power2(m[i] - from_top);
      float y[6];
      widen(v[i], y);
      total += l[i] * weight;
#pragma unroll
      for (int e = 0; e < 6; e++) x[e] += y[e] * weight;
    }
  }
  float top = most;
#pragma unroll
  for (int m = 8; m < 32; m <<= 1) {
    const float other = shfl_xor(top, m);
    top = other > top ? other : top;
  }
  const float keep = most == -INFINITY ? 0.f : power2(most - top);
  total *= keep;
#pragma unroll
  for (int e = 0; e < 6; e++) x[e] *= keep;
#pragma unroll
  for (int m = 8; m < 32; m <<= 1) {
    total += shfl_xor(total, m);
#pragma unroll
    for (int e = 0; e < 6; e++) x[e] += shfl_xor(x[e], m);
  }
  const float by = inverse(total);
#pragma unroll
  for (int e = 0; e < 6; e++) x[e] *= by;
  stamp(a, read + 1, warp, lane, 1);
  if (lane >= 6) return;
  const uint32_t p[3] = {pair_of(x[0], x[1]), pair_of(x[2], x[3]), pair_of(x[4], x[5])};
  if constexpr (P::tell >= 0) {
    const int j3 = lane % 3, unit = head * Model::kHead + pair * kPairColumns + lane / 3 * 16;
    *reinterpret_cast<Pairs*>(chunks<P>(a) + chunk_place(row, unit + 4 * j3)) = {p[0], p[1]};
    if (j3 < 2)
      *reinterpret_cast<uint32_t*>(chunks<P>(a) + chunk_place(row, unit + 12 + 2 * j3)) = p[2];
  } else {
    int turned = head * kHeadPairs + pair;
    if constexpr (P::out_turned) turned = turned_pair(turned, P::n / kPairColumns);
    const int to = P::out + row * (P::n / 16 * 3) + turned * 6 + lane;
    send_packet<P>(a, fresh(a.packets) + to, make_uint4(p[0], p[1], p[2], epoch));
  }
}

}  // namespace treadle::mega
