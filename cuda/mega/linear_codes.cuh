// The product with weights of codes: a pair of fragments is a group of 32 columns, whose sum is
// scaled in float32.
#pragma once

namespace treadle::mega {

/// One strip, as `multiply`. range: tiles of k as the table has them.
template <class P>
TM_DEVICE void multiply_codes(const Args& a, Smem& s, Place& at, int warp, int lane, uint32_t range,
                              int base, float (*to)[16]) {
  using F = Form<P::form>;
  constexpr int kMine = F::kSpan / kPairColumns / kWarps;  // pairs of a tile that a warp takes
  float sum[kBlocks][4] = {};
  const int g = lane / 4, t = lane % 4, end = end_column<P>(range);
#pragma unroll 1
  for (int column = first_column<P>(range); column < end; column += F::kSpan) {
    const int left = (end - column) / kPairColumns;
    mb_wait(a, &s.full[at.slot], at.turn, kFull, P::index);
    const unsigned char* tile = s.ring[at.slot];
#pragma unroll
    for (int i = 0; i < kMine; i++) {
      const int pair = warp + kWarps * i;
      if (!P::whole && pair >= left) break;
      const Taken w = take<P::form>(tile, pair, lane);
#pragma unroll
      for (int b = 0; b < kBlocks; b++) {
        const uint4 x = *reinterpret_cast<const uint4*>(
            &s.act[row_of(g + 8 * b)][column - base * kTileColumns + pair * kPairColumns + t * 8]);
        float part[4] = {};
        mma(part, w.w0, x.x, x.y);
        mma(part, w.w1, x.z, x.w);
        if constexpr (P::form == kFourLow) {  // the sum of x: for the least value, and less 128
          const uint4 ones = make_uint4(0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u);
          float all[4] = {};
          mma(all, ones, x.x, x.y);
          mma(all, ones, x.z, x.w);
#pragma unroll
          for (int j = 0; j < 4; j++) {
            part[j] -= 128 * all[j];
            sum[b][j] += w.low[j / 2] * all[j];
          }
        }
#pragma unroll
        for (int j = 0; j < 4; j++) sum[b][j] += w.scale[j / 2] * part[j];
      }
    }
    warp_sync();
    if (Model::kStrict || lane == 0) mb_arrive(&s.empty[at.slot]);
    at.next();
  }
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int row = 8 * b + 2 * t + i;
      if (row < Model::kRows) to[row][g] = sum[b][i], to[row][g + 8] = sum[b][i + 2];
    }
  }
}

}  // namespace treadle::mega
