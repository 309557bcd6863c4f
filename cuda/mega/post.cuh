// The norm that stands behind a branch (Gemma): the sum of its terms, by its root mean square and a
// weight, before the residual stream takes it. It needs the whole row, so warps meet here.
#pragma once

namespace treadle::mega {

/// The factor of a row from what this thread's columns have of its sum of squares: all consumers
/// call this together. turn: rows in turn use two places, so that one barrier a row is enough.
template <class P>
TM_DEVICE float branch_root(Smem& s, float square, int warp, int lane, int turn) {
#pragma unroll
  for (int m = 16; m; m >>= 1) square += shfl_xor(square, m);
  float* sums = s.branch[P::act ? 1 : 0][turn & 1];
  if (lane == 0) sums[warp] = square;
  bar_sync(1);
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; w++) total += sums[w];
  return inverse_root(total / P::k + P::post_eps);
}

/// Adds terms `first` on of a branch's packet to six columns, as many as registers hold at once.
/// base: of the first term; wanted: whether the lane has such a packet.
template <class P>
TM_DEVICE void add_terms(const Args& a, int base, bool wanted, uint32_t epoch, float (&x)[6]) {
  constexpr int kTerms = P::first ? 0 : P::in_terms, kTerm = Model::kRows * (P::k / 16 * 3);
  constexpr int kAtOnce = kTerms < 8 ? (kTerms ? kTerms : 1) : 8;
#pragma unroll 1
  for (int term = 0; term < kTerms; term += kAtOnce) {
    uint4 v[kAtOnce];
    uint32_t mask = 0;
#pragma unroll
    for (int i = 0; i < kAtOnce; i++)
      if (wanted && term + i < kTerms) mask |= 1u << i;
    poll(a, [&](int i) { return base + (term + i) * kTerm; }, mask, epoch, P::index, v);
#pragma unroll
    for (int i = 0; i < kAtOnce; i++) {  // what nobody asked for is zero
      float y[6];
      widen(v[i], y);
#pragma unroll
      for (int e = 0; e < 6; e++) x[e] += y[e];
    }
  }
}

/// The factor of a row whose branch stands in packets, by a worker that has a slice of it: every
/// such worker sums the whole row.
template <class P>
TM_DEVICE float whole_root(const Args& a, Smem& s, int row, int warp, int lane, uint32_t epoch,
                           int turn) {
  constexpr int kPackets = P::k / 16 * 3;
  float square = 0;
#pragma unroll 1
  for (int first = warp * 32; first < kPackets; first += kWarps * 32) {
    float x[6] = {};
    add_terms<P>(a, P::in + row * kPackets + first + lane, first + lane < kPackets, epoch, x);
#pragma unroll
    for (int e = 0; e < 6; e++)  // a third packet of a unit has nothing in its last two
      if (e < 4 || (first + lane) % 3 < 2) square += x[e] * x[e];
  }
  return branch_root<P>(s, square, warp, lane, turn);
}

}  // namespace treadle::mega
