// What a linear reads: packets of a row, or the residual stream with its norm. A warp loads just
// the columns that it multiplies, so that only the norm needs the other warps.
#pragma once

namespace treadle::mega {

/// The packets of a linear's input that a warp takes: 32 columns in eight belong to it.
template <class P>
struct Share {
  static constexpr int kPairs = P::k / kPairColumns;
  static constexpr int kUnits = kPairColumns / P::in_unit, kEach = packets_of(P::in_unit);
  static constexpr int kPair = kUnits * kEach;  // packets of a pair of 16 columns
  static constexpr int kAtOnce = 32 / kPair;    // pairs that a warp asks for at once
  static constexpr int kStep = kWarps * kAtOnce;
  static constexpr int kMost = (kPairs + kStep - 1) / kStep;
  static constexpr int kRow = P::k / P::in_unit * kEach;  // packets of a row
  static_assert(P::k % kPairColumns == 0 && kMost <= 32);

  // Places of the first packet; the others follow at constant distances.
  int pair, piece;
  TM_DEVICE Share(int warp, int lane)
      : pair(lane < kAtOnce * kPair ? warp + kWarps * (lane / kPair) : kPairs),
        piece(lane % kPair) {}
  TM_DEVICE bool has(int i) const { return pair + kStep * i < kPairs; }
  TM_DEVICE int packet(int i) const { return pair * kPair + piece + kStep * kPair * i; }
  TM_DEVICE int column(int i) const {
    return pair * kPairColumns + piece / kEach * P::in_unit + piece % kEach * 6 +
           kStep * kPairColumns * i;
  }
  TM_DEVICE int columns(int) const {  // of a packet: 6, fewer at a unit's end
    const int left = P::in_unit - piece % kEach * 6;
    return left < 6 ? left : 6;
  }
  TM_DEVICE uint32_t mask() const {
    uint32_t m = 0;
#pragma unroll
    for (int i = 0; i < kMost; i++)
      if (has(i)) m |= 1u << i;
    return m;
  }
};

TM_DEVICE void widen(uint4 v, float (&x)[6]) {
  x[0] = low(v.x), x[1] = high(v.x), x[2] = low(v.y);
  x[3] = high(v.y), x[4] = low(v.z), x[5] = high(v.z);
}

/// Rows as they come.
template <class P>
TM_DEVICE void load_plain(const Args& a, Smem& s, int warp, int lane, uint32_t epoch) {
  const Share<P> share(warp, lane);
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    uint4 v[Share<P>::kMost];
    const int base = P::in + row * Share<P>::kRow;
    poll(a, [&](int i) { return base + share.packet(i); }, share.mask(), epoch, P::index, v);
    stamp(a, epoch + 1, warp, lane, 1);
    uint32_t* to = reinterpret_cast<uint32_t*>(s.act[row]);
#pragma unroll
    for (int i = 0; i < Share<P>::kMost; i++) {
      if (!share.has(i)) continue;
      const int at = share.column(i) / 2, n = share.columns(i);
      to[at] = v[i].x;
      if (n > 2) to[at + 1] = v[i].y;
      if (n > 4) to[at + 2] = v[i].z;
    }
  }
  warp_sync();
}

/// The residual stream: the token's row, or what it was plus the terms of a sum in their order;
/// then its norm. The stream stays in shared memory, the same in every worker.
template <class P>
TM_DEVICE void load_sum(const Args& a, Smem& s, int warp, int lane, int layer, uint32_t epoch) {
  using T = Share<P>;
  constexpr int set = P::act ? 1 : 0;  // a slow warp may still read the sums of the norm before
  const T share(warp, lane);
  float x[T::kMost][6], w[T::kMost][6];
  const uint64_t policy = evict_last();
  const float* norm = fresh(a.pool) + P::norm + layer * P::norm_step;
#pragma unroll
  for (int i = 0; i < T::kMost; i++) {
    if (!share.has(i)) continue;
    const int at = share.column(i), n = share.columns(i);
#pragma unroll
    for (int e = 0; e < 6; e += 2)  // units are even
      if (e < n) load_kept(norm + at + e, policy, w[i][e], w[i][e + 1]);
  }
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    if constexpr (P::first) {
      const uint16_t* from = fresh(a.embed) + static_cast<int64_t>(s.token[row]) * P::k;
#pragma unroll
      for (int i = 0; i < T::kMost; i++) {
        if (!share.has(i)) continue;
        const int at = share.column(i), n = share.columns(i);
#pragma unroll
        for (int e = 0; e < 6; e++)
          x[i][e] = e < n ? low(load_constant(from + at + e)) * Model::kEmbedScale : 0.f;
      }
    } else {
#pragma unroll
      for (int term = 0; term < P::in_terms; term++) {
        uint4 v[T::kMost];
        const int base = P::in + (term * Model::kRows + row) * T::kRow;
        poll(a, [&](int i) { return base + share.packet(i); }, share.mask(), epoch, P::index, v);
#pragma unroll
        for (int i = 0; i < T::kMost; i++) {
          float y[6];
          widen(v[i], y);
#pragma unroll
          for (int e = 0; e < 6; e++) x[i][e] = term ? x[i][e] + y[e] : y[e];
        }
      }
    }
    stamp(a, epoch + 1, warp, lane, 1);
    float square = 0;
#pragma unroll
    for (int i = 0; i < T::kMost; i++) {
      if (!share.has(i)) continue;
      const int at = share.column(i), n = share.columns(i);
#pragma unroll
      for (int e = 0; e < 6; e += 2) {
        if (e >= n) continue;
        Two* stream = reinterpret_cast<Two*>(&s.residual[row][at + e]);
        if constexpr (!P::first) {
          const Two old = *stream;
          x[i][e] += old.x, x[i][e + 1] += old.y;
        }
        *stream = {x[i][e], x[i][e + 1]};
        square += x[i][e] * x[i][e] + x[i][e + 1] * x[i][e + 1];
      }
    }
#pragma unroll
    for (int m = 16; m; m >>= 1) square += shfl_xor(square, m);
    if (lane == 0) s.sums[set][warp][row] = square;
    bar_sync(1);
    float total = 0;
#pragma unroll
    for (int i = 0; i < kWarps; i++) total += s.sums[set][i][row];
    const float root = inverse_root(total / P::k + P::eps);
    uint32_t* to = reinterpret_cast<uint32_t*>(s.act[row]);
#pragma unroll
    for (int i = 0; i < T::kMost; i++) {
      if (!share.has(i)) continue;
      const int at = share.column(i) / 2, n = share.columns(i);
#pragma unroll
      for (int j = 0; j < 3; j++)
        if (2 * j < n)
          to[at + j] =
              pair_of(x[i][2 * j] * root * w[i][2 * j], x[i][2 * j + 1] * root * w[i][2 * j + 1]);
    }
  }
  warp_sync();
}

}  // namespace treadle::mega
