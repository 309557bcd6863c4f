// The product with 4-bit weights in groups of 32 columns. A pair of fragments is a group: the
// tensor core multiplies the codes, which bf16 holds exactly, and the group's sum is scaled in
// float32, so that no weight is rounded.
#pragma once

namespace treadle::mega {

struct alignas(8) Codes {
  uint32_t x, y;
};

/// Fragment A of eight codes less a constant. A code below bits 0x4300 is 128 + code in bf16, and
/// so are the numbers that differ from it by less than 128.
template <int kLess>
TM_DEVICE uint4 fragment_of(uint32_t codes) {
  uint32_t r[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    r[i] = (codes >> 4 * i & 0x000f000fu) | 0x43004300u;
    if constexpr (kLess > 0) r[i] = pair_minus(r[i], (0x4300u + kLess - 128) * 0x00010001u);
  }
  return make_uint4(r[0], r[1], r[2], r[3]);
}

/// One strip, as `multiply`.
template <class P>
TM_DEVICE void multiply_four(const Args& a, Smem& s, Place& at, int warp, int lane, uint32_t range,
                             float (*to)[16]) {
  using F = Form<P::form>;
  constexpr bool kLow = P::form == kFourLow;
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
      const Codes codes = *reinterpret_cast<const Codes*>(tile + pair * F::kPair + lane * 8);
      Codes scales;  // of rows g and g + 8: scale, then the least value
      if constexpr (kLow)
        scales = *reinterpret_cast<const Codes*>(tile + pair * F::kPair + 256 + g * 8);
      else
        scales.x = *reinterpret_cast<const uint32_t*>(tile + pair * F::kPair + 256 + g * 4);
      const float top = half_low(scales.x), bottom = half_high(scales.x);
      const uint4 w0 = fragment_of<kLow ? 0 : 136>(codes.x);
      const uint4 w1 = fragment_of<kLow ? 0 : 136>(codes.y);
#pragma unroll
      for (int b = 0; b < kBlocks; b++) {
        uint4 x = make_uint4(0, 0, 0, 0);
        if (g + 8 * b < Model::kRows)
          x = *reinterpret_cast<const uint4*>(
              &s.act[g + 8 * b][column + pair * kPairColumns + t * 8]);
        float part[4] = {};
        mma(part, w0, x.x, x.y);
        mma(part, w1, x.z, x.w);
        if constexpr (kLow) {  // the sum of x, for the least value and the 128 of each code
          const uint4 ones = make_uint4(0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u);
          float all[4] = {};
          mma(all, ones, x.x, x.y);
          mma(all, ones, x.z, x.w);
          const float low = half_low(scales.y), lower = half_high(scales.y);
#pragma unroll
          for (int j = 0; j < 2; j++) {
            part[j] -= 128 * all[j], part[j + 2] -= 128 * all[j];
            sum[b][j] += low * all[j], sum[b][j + 2] += lower * all[j];
          }
        }
        sum[b][0] += top * part[0], sum[b][1] += top * part[1];
        sum[b][2] += bottom * part[2], sum[b][3] += bottom * part[3];
      }
    }
    warp_sync();
    if (lane == 0) mb_arrive(&s.empty[at.slot]);
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
