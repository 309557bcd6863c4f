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
  if (act == 1) return g * inverse(1.0f + power2(-1.4426950408889634f * g));
  const float t = 0.7978845608028654f * (g + 0.044715f * g * g * g);
  return g * inverse(1.0f + power2(-2.8853900817779268f * t));  // tanh by the same exponential
}

/// Soft cap of y, cap * tanh(y / cap). by: 2 y / cap in powers of two.
TM_DEVICE float capped(float by, float cap) {
  return cap - 2 * cap * inverse(1.0f + power2(by));
}

constexpr int kPairsMine =
    kTileColumns / kPairColumns / kWarps;  // pairs of a tile that a warp takes

/// What a warp has of one strip: by block of eight rows and half of a pair of columns.
using Sums = float[kBlocks][2 * kPairsMine][4];

/// This warp's columns of the ring's next tile. input(b, column): eight inputs of row g + 8 b, from
/// a column of the tile on.
template <class P, class Input>
TM_DEVICE void multiply_tile(const Args& a, Smem& s, Place& at, int tile, int warp, int lane,
                             const Input& input, Sums& sum) {
  const int left = P::k / kPairColumns - tile * kTilePairs;
  mb_wait(a, &s.full[at.slot], at.turn, kFull, P::index);
  const uint4* weights = reinterpret_cast<const uint4*>(s.ring[at.slot]) + lane;
#pragma unroll
  for (int i = 0; i < kPairsMine; i++) {
    const int pair = warp + kWarps * i;
    if (P::k % kTileColumns != 0 && pair >= left) break;
    const uint4 w0 = weights[pair * 64], w1 = weights[pair * 64 + 32];
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
      const uint4 x = input(b, pair * kPairColumns + lane % 4 * 8);
      mma(sum[b][2 * i], w0, x.x, x.y);
      mma(sum[b][2 * i + 1], w1, x.z, x.w);
    }
  }
  warp_sync();
  if (Model::kStrict || lane == 0) mb_arrive(&s.empty[at.slot]);
  at.next();
}

/// A warp's 16 sums a row to `partial`.
TM_DEVICE void put_sums(const Sums& sum, int lane, float (*to)[16]) {
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int b = 0; b < kBlocks; b++) {
#pragma unroll
    for (int i = 0; i < (Model::kRows == 1 ? 1 : 2); i++) {
      const int row = 8 * b + 2 * t + i;
      float top = 0, bottom = 0;
#pragma unroll
      for (int j = 0; j < 2 * kPairsMine; j++) top += sum[b][j][i], bottom += sum[b][j][i + 2];
      if (row < Model::kRows) to[row][g] = top, to[row][g + 8] = bottom;
    }
  }
}

/// The row of activations that a lane reads for row r of the products' right side: beyond the last
/// row that one again, because nobody takes those sums.
TM_DEVICE int row_of(int r) {
  return r < Model::kRows ? r : Model::kRows - 1;
}

/// Where a lane finds what it multiplies: 16 bytes of a tile, columns of the activations.
struct Lane {
  int weights, column[kBlocks];
  TM_DEVICE Lane(int warp, int lane) : weights(fresh(warp * 64 + lane)) {
#pragma unroll
    for (int b = 0; b < kBlocks; b++)
      column[b] =
          fresh(row_of(lane / 4 + 8 * b) * Model::kActStride + warp * kPairColumns + lane % 4 * 8);
  }
};

/// One strip: this warp's columns of all its tiles, then its sums. base: tile that the activations
/// in shared memory begin with.
template <class P>
TM_DEVICE void multiply(const Args& a, Smem& s, Place& at, const Lane& mine, int warp, int lane,
                        int k0, int tiles, int base, float (*to)[16]) {
  Sums sum = {};
  if constexpr (P::k % kTileColumns == 0) {
    int column = (k0 - base) * kTileColumns;
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile++, column += kTileColumns) {
      mb_wait(a, &s.full[at.slot], at.turn, kFull, P::index);
      const uint4* weights = reinterpret_cast<const uint4*>(s.ring[at.slot]) + mine.weights;
      uint4 w[2 * kPairsMine], x[kBlocks][kPairsMine];
#pragma unroll
      for (int i = 0; i < kPairsMine; i++) {
        w[2 * i] = weights[kWarps * 64 * i], w[2 * i + 1] = weights[kWarps * 64 * i + 32];
#pragma unroll
        for (int b = 0; b < kBlocks; b++)
          x[b][i] = *reinterpret_cast<const uint4*>(&s.act[0][0] + mine.column[b] + column +
                                                    kWarps * kPairColumns * i);
      }
      warp_sync();
      if (Model::kStrict || lane == 0) mb_arrive(&s.empty[at.slot]);  // read, if not there yet
      at.next();
#pragma unroll
      for (int i = 0; i < kPairsMine; i++) {
#pragma unroll
        for (int b = 0; b < kBlocks; b++) {
          mma(sum[b][2 * i], w[2 * i], x[b][i].x, x[b][i].y);
          mma(sum[b][2 * i + 1], w[2 * i + 1], x[b][i].z, x[b][i].w);
        }
      }
    }
  } else {
    const int g = lane / 4, end = k0 + tiles;
#pragma unroll 1
    for (int tile = k0; tile < end; tile++) {
      const auto input = [&](int b, int column) {
        return *reinterpret_cast<const uint4*>(
            &s.act[row_of(g + 8 * b)][(tile - base) * kTileColumns + column]);
      };
      multiply_tile<P>(a, s, at, tile, warp, lane, input, sum);
    }
  }
  put_sums(sum, lane, to);
}

/// First packet of row 0 that a lane sends of its output of a strip. term: part of k.
template <class P>
TM_DEVICE int place_of(int strip0, int lane, int term) {
  if constexpr (P::logits || P::router) {
    return 0;
  } else {
    constexpr bool kPaired = P::act && P::out_unit == 16;  // a unit is two strips of eight
    constexpr int kEach = packets_of(P::out_unit), kUnits = kPairColumns / P::out_unit;
    const int strip = lane / 4, part = lane % 4;
    const int j = kPaired ? strip % 2 * 2 + part % 2 : part;  // packet in the unit
    int unit = column_of<P>(strip0 + strip) / P::out_unit;
    if constexpr (P::out_turned)
      unit = turned_pair(unit / kUnits, P::n / kPairColumns) * kUnits + unit % kUnits;
    return P::out + term * Model::kRows * (P::n / P::out_unit * kEach) + unit * kEach + j;
  }
}

/// Sums over warps, makes the outputs of one row and sends them: the work of one warp for a chunk
/// of strips. A lane has four outputs of its strip. place: as `place_of` says.
template <class P>
TM_DEVICE void finish(const Args& a, Smem& s, int set, int warp, int lane, int row, int strip0,
                      int strips, int term, int place, int layer, uint32_t epoch) {
  const int strip = lane / 4, part = lane % 4;
  const bool mine = strip < strips;
  float y[4] = {};
  if (mine) {
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
      const Four p = *reinterpret_cast<const Four*>(&s.partial[set][strip][w][row][part * 4]);
      y[0] += p.x, y[1] += p.y, y[2] += p.z, y[3] += p.w;
    }
  }
  if constexpr (P::sum) {
    const float root = root_of<P>(s, row, lane);
#pragma unroll
    for (int j = 0; j < 4; j++) y[j] *= root;
  }
  const int column = column_of<P>(strip0 + strip);
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
        y[j] +=
            load_constant(fresh(a.pool) + P::bias + layer * P::bias_step + column + part * 4 + j);
    }
  }
  if constexpr (P::logits) {
    uint64_t best = 0;
    if (mine) {
      float* to = fresh(a.logits) + static_cast<int64_t>(row) * P::n + column + part * 4;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float x = y[j] * P::scale;
        if constexpr (P::cap != 0) x = capped(x * (2.8853900817779268f / P::cap), P::cap);
        to[j] = x;
        const uint64_t key = key_of(x, static_cast<uint32_t>(column + part * 4 + j));
        best = key > best ? key : best;
      }
    }
#pragma unroll
    for (int m = 16; m; m >>= 1) {
      const uint64_t other = shfl_xor(best, m);
      best = other > best ? other : best;
    }
    if (lane == 0 && best > s.best[0][warp][row]) s.best[0][warp][row] = best;
  } else if constexpr (P::router) {
    if (mine) {
      uint4* to = fresh(a.packets) + P::out + row * (P::n / 2) + (column + part * 4) / 2;
      store_packet(to, make_uint4(bits_of(y[0]), bits_of(y[1]), 0, epoch));
      store_packet(to + 1, make_uint4(bits_of(y[2]), bits_of(y[3]), 0, epoch));
    }
  } else {
    constexpr bool kPaired = P::act && P::out_unit == 16;  // a unit is two strips of eight
    constexpr int kEach = packets_of(P::out_unit);
    const int j = kPaired ? strip % 2 * 2 + part % 2 : part;  // packet in the unit
    const uint32_t first = pair_of(y[0] * P::scale, y[1] * P::scale);
    const uint32_t second = pair_of(y[2] * P::scale, y[3] * P::scale);
    uint32_t third = 0;
    if constexpr (P::out_unit == 16) {  // the unit's last four go with its first two packets
      const int last = kPaired ? (lane & ~7) | 5 : lane | 3;
      const uint32_t x = shfl(first, last), z = shfl(second, last);
      third = j == 0 ? x : z;
    }
    if (mine && j < kEach && (!P::act || part < 2)) {
      const int to = place + row * (P::n / P::out_unit * kEach);
      send_packet<P>(a, fresh(a.packets) + to, make_uint4(first, second, third, epoch));
    }
  }
}

}  // namespace treadle::mega
