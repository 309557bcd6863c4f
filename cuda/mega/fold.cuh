// Partials of one row's query head over its segments, in a fixed order, to one output: as a task of
// its own, or by the linear that reads them.
#pragma once

namespace treadle::mega {

constexpr int kSegments = Model::kPages / Model::kSegmentPages;
constexpr int kHeadPairs = Model::kHead / kPairColumns;  // pairs of 16 columns of a head

/// N times 32 columns, by one warp: four segments at once, eight lanes each, six of which hold a
/// packet of o and one (m, l). x: what lane l < 8 (and those 8, 16, 24 further) has of them,
/// divided by the weights' sum. at(n): place of segment 0's record, and of its packet in question,
/// less the lane.
template <class P, int N, class At>
TM_DEVICE void fold_pairs(const Args& a, int row, At at, const bool (&has)[N], int segments,
                          int lane, uint32_t read, float (&x)[N][6]) {
  constexpr int kTurns = (kSegments + 3) / 4 < 4 ? (kSegments + 3) / 4 : 4;
  constexpr int kSegmentStep = Model::kRows * Model::kHeads * kRecord;
  const int j = lane % 8, ml = (lane & ~7) | 6;
  float most[N], total[N];
#pragma unroll
  for (int n = 0; n < N; n++) {
    most[n] = -INFINITY, total[n] = 0;
#pragma unroll
    for (int e = 0; e < 6; e++) x[n][e] = 0;
  }
#pragma unroll 1
  for (int first = 0; first < segments; first += 4 * kTurns) {
    uint4 v[N * kTurns];
    uint32_t mask = 0;
    int base[N];  // of the first turn; the others follow at constant distances
#pragma unroll
    for (int n = 0; n < N; n++)
      base[n] = P::in + (row * Model::kHeads + at(n).x) * kRecord +
                (first + lane / 8) * kSegmentStep + (j < 6 ? at(n).y * 6 + j : kRecord - 1);
#pragma unroll
    for (int i = 0; i < N * kTurns; i++)
      if (has[i / kTurns] && j < 7 && first + i % kTurns * 4 + lane / 8 < segments) mask |= 1u << i;
    auto place = [&](int i) { return base[i / kTurns] + i % kTurns * 4 * kSegmentStep; };
    poll(a, place, mask, read, P::index, v);
#pragma unroll
    for (int i = 0; i < N * kTurns; i++) {
      const int n = i / kTurns;
      const float m = float_of(shfl(v[i].x, ml)), l = float_of(shfl(v[i].y, ml));
      if (!(mask >> i & 1) || j == 6) continue;
      const float top = m > most[n] ? m : most[n];
      const float keep = power2(most[n] - top), weight = power2(m - top);
      float y[6];
      widen(v[i], y);
      most[n] = top;
      total[n] = total[n] * keep + l * weight;
#pragma unroll
      for (int e = 0; e < 6; e++) x[n][e] = x[n][e] * keep + y[e] * weight;
    }
  }
#pragma unroll
  for (int n = 0; n < N; n++) {
    float top = most[n];
#pragma unroll
    for (int m = 8; m < 32; m <<= 1) {
      const float other = shfl_xor(top, m);
      top = other > top ? other : top;
    }
    const float keep = most[n] == -INFINITY ? 0.f : power2(most[n] - top);
    total[n] *= keep;
#pragma unroll
    for (int e = 0; e < 6; e++) x[n][e] *= keep;
#pragma unroll
    for (int m = 8; m < 32; m <<= 1) {
      total[n] += shfl_xor(total[n], m);
#pragma unroll
      for (int e = 0; e < 6; e++) x[n][e] += shfl_xor(x[n][e], m);
    }
    const float by = 1.0f / total[n];
#pragma unroll
    for (int e = 0; e < 6; e++) x[n][e] *= by;
  }
}

/// Head and pair in it.
struct HeadPair {
  int x, y;
};

/// A task of its own, where contexts are long or rows many: 32 columns of a head, by one warp.
template <class P>
TM_DEVICE void fold_pair(const Args& a, Smem& s, int row, int head, int pair, int warp, int lane,
                         uint32_t read, uint32_t epoch) {
  const int segments = s.position[row] / (kPage * Model::kSegmentPages) + 1;
  const bool has[1] = {true};
  float x[1][6];
  fold_pairs<P, 1>(a, row, [&](int) { return HeadPair{head, pair}; }, has, segments, lane, read, x);
  stamp(a, read + 1, warp, lane, 1);
  if (lane >= 6) return;
  const int to = P::out + row * (P::n / 16 * 3) + (head * kHeadPairs + pair) * 6 + lane;
  store_packet(fresh(a.packets) + to,
               make_uint4(pair_of(x[0][0], x[0][1]), pair_of(x[0][2], x[0][3]),
                          pair_of(x[0][4], x[0][5]), epoch));
}

/// The input of a linear that reads partials: a warp folds the columns that it multiplies.
template <class P>
TM_DEVICE void load_folded(const Args& a, Smem& s, int warp, int lane, uint32_t epoch, int first,
                           int last) {
  constexpr int kAll = P::k / kPairColumns;
  const int end = last * kTilePairs < kAll ? last * kTilePairs : kAll;
  keep_together<P>();
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    const int segments = s.position[row] / (kPage * Model::kSegmentPages) + 1;
#pragma unroll 1
    for (int pair = first * kTilePairs + warp; pair < end; pair += 2 * kWarps) {
      auto at = [&](int n) {
        return HeadPair{(pair + kWarps * n) / kHeadPairs, (pair + kWarps * n) % kHeadPairs};
      };
      const bool has[2] = {true, pair + kWarps < end};
      float x[2][6];
      fold_pairs<P, 2>(a, row, at, has, segments, lane, epoch, x);
      stamp(a, epoch + 1, warp, lane, 1);
#pragma unroll
      for (int n = 0; n < 2; n++) {
        if (!has[n] || lane >= 6) continue;
        const int unit = (pair + kWarps * n - first * kTilePairs) * kPairColumns + lane / 3 * 16;
        *reinterpret_cast<Pairs*>(&s.act[row][unit + lane % 3 * 4]) = {pair_of(x[n][0], x[n][1]),
                                                                       pair_of(x[n][2], x[n][3])};
        if (lane % 3 < 2)
          *reinterpret_cast<uint32_t*>(&s.act[row][unit + 12 + lane % 3 * 2]) =
              pair_of(x[n][4], x[n][5]);
      }
    }
  }
  warp_sync();
}

}  // namespace treadle::mega
