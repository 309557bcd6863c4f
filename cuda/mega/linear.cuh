// y = W h over the tiles of the ring: 16 weight rows by 512 columns a tile, columns split over the
// warps, one fixed-order sum over warps a strip, then bias, scale, gate and packets (or logits).
#pragma once

namespace treadle::mega {

/// Largest logit seen, ties to the lower id: float order above, inverted id below.
TM_DEVICE uint64_t key_of(float x, uint32_t id) {
  const uint32_t u = bits_of(x);
  const uint32_t ordered = u & 0x80000000u ? ~u : u | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | static_cast<uint32_t>(~id);
}

TM_DEVICE float gate(int act, float g) {
  if (act == 1) return g / (1.0f + power2(-1.4426950408889634f * g));
  const float t = 0.7978845608028654f * (g + 0.044715f * g * g * g);
  return g / (1.0f + power2(-2.8853900817779268f * t));  // tanh by the same exponential
}

constexpr int kBlocks = (Model::kRows + 7) / 8;  // of eight rows: the columns of one mma

/// One strip: this warp's columns of all its tiles, then its 16 sums a row to `partial`.
template <class P>
TM_DEVICE void multiply(const Args& a, Smem& s, Place& at, int warp, int lane, int k0, int tiles,
                        float (*to)[16]) {
  float sum[kBlocks][2][4] = {};
  const int g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (int tile = k0; tile < k0 + tiles; tile++) {
    const int left = P::k / kPairColumns - tile * (kTileColumns / kPairColumns);
    mb_wait(a, &s.full[at.slot], at.turn, kFull, P::index);
    const uint4* weights = reinterpret_cast<const uint4*>(s.ring[at.slot]) + lane;
#pragma unroll
    for (int i = 0; i < kTileColumns / kPairColumns / kWarps; i++) {
      const int pair = warp + kWarps * i;
      if (P::k % kTileColumns != 0 && pair >= left) break;
      const uint4 w0 = weights[pair * 64], w1 = weights[pair * 64 + 32];
#pragma unroll
      for (int b = 0; b < kBlocks; b++) {
        uint4 x = make_uint4(0, 0, 0, 0);
        if (g + 8 * b < Model::kRows)
          x = *reinterpret_cast<const uint4*>(
              &s.act[g + 8 * b][tile * kTileColumns + pair * kPairColumns + t * 8]);
        mma(sum[b][0], w0, x.x, x.y);
        mma(sum[b][1], w1, x.z, x.w);
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
      if (row < Model::kRows) {
        to[row][g] = sum[b][0][i] + sum[b][1][i];
        to[row][g + 8] = sum[b][0][i + 2] + sum[b][1][i + 2];
      }
    }
  }
}

/// Sums over warps, makes outputs and sends them: the work of one warp for a chunk of strips.
template <class P>
TM_DEVICE void finish(const Args& a, Smem& s, int set, int lane, int strip0, int strips, int term,
                      int layer, uint32_t epoch, int warp) {
  constexpr int kOut = P::act ? 8 : 16;  // columns a strip makes
  const int strip = lane / 4, quad = lane % 4 * 4;
  const bool mine = strip < strips;
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    float y[4] = {};
    const int column = column_of<P>(strip0 + strip);
    if (mine) {
#pragma unroll
      for (int w = 0; w < kWarps; w++)
#pragma unroll
        for (int j = 0; j < 4; j++) y[j] += s.partial[set][strip][w][row][quad + j];
    }
    if constexpr (P::act != 0) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const float up = shfl_xor(y[j], 2);
        y[j] = gate(P::act, y[j]) * up;
      }
    } else if constexpr (P::bias >= 0) {
      if (mine && term == 0) {
#pragma unroll
        for (int j = 0; j < 4; j++)
          y[j] += load_constant(a.pool + P::bias + layer * P::bias_step + column + quad + j);
      }
    }
    if constexpr (P::logits) {
      uint64_t best = 0;
      if (mine) {
        float* to = a.logits + static_cast<int64_t>(row) * P::n + column + quad;
#pragma unroll
        for (int j = 0; j < 4; j++) {
          to[j] = y[j] * P::scale;
          const uint64_t key = key_of(y[j] * P::scale, static_cast<uint32_t>(column + quad + j));
          best = key > best ? key : best;
        }
      }
#pragma unroll
      for (int m = 16; m; m >>= 1) {
        const uint64_t other = shfl_xor(best, m);
        best = other > best ? other : best;
      }
      if (lane == 0 && best > s.best[0][warp][row]) s.best[0][warp][row] = best;
    } else {
      warp_sync();  // all lanes have read the sums that these overwrite
      if (mine && quad < kOut) {
#pragma unroll
        for (int j = 0; j < 4; j++) s.partial[set][strip][0][row][quad + j] = y[j] * P::scale;
      }
      warp_sync();
      constexpr int kEach = packets_of(P::out_unit);
      const int packets = strips * kOut / P::out_unit * kEach;
      for (int p = lane; p < packets; p += kLanes) {
        const int from = p / kEach * P::out_unit + p % kEach * 6;  // output of this chunk
        const int n = P::out_unit - p % kEach * 6;
        float o[6];
#pragma unroll
        for (int e = 0; e < 6; e++)
          o[e] = e < n ? s.partial[set][(from + e) / kOut][0][row][(from + e) % kOut] : 0.f;
        const int unit = column_of<P>(strip0 + from / kOut) / P::out_unit;
        const int place = P::out + (term * Model::kRows + row) * (P::n / P::out_unit * kEach) +
                          unit * kEach + p % kEach;
        store_packet(a.packets + place, make_uint4(pair_of(o[0], o[1]), pair_of(o[2], o[3]),
                                                   pair_of(o[4], o[5]), epoch));
      }
    }
  }
}

}  // namespace treadle::mega
