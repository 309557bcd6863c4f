// y = W h for many rows, h in chunks (feed.cuh): the strips of a band side by side on the warps, so
// that a chunk is read once and, where strips are many, no warp's sums are parts of another's.
#pragma once

namespace treadle::mega {

/// A warp's part of a band: `ways` warps share a strip, each with some of a tile's pairs.
struct Bench {
  int ways, step, mine, rounds, pair, pairs;
  TM_DEVICE Bench(int strips, int warp) {
    ways = strips > 4 ? 1 : strips > 2 ? 2 : strips == 2 ? 4 : 8;
    step = kWarps / ways, mine = warp / ways, rounds = strips > step ? 2 : 1;
    pairs = kTileColumns / kPairColumns / ways, pair = warp % ways * pairs;
  }
};

/// Eight outputs of a row, columns `half` * 8 to + 7 of a strip: factor, bias, gate, and out as
/// logits, packets or elements of a chunk. A whole warp calls this.
template <class P>
TM_DEVICE void send_strip(const Args& a, Smem& s, float (&y)[8], int warp, int lane, int strip,
                          int term, int layer, uint32_t told) {
  const int row = lane / 2, half = lane % 2;
  const bool in = row < Model::kRows;
  if constexpr (P::squares >= 0) {
    const float root = in ? s.roots[row] : 0.f;
#pragma unroll
    for (int j = 0; j < 8; j++) y[j] *= root;
  }
  const int column = column_of<P>(strip);
  if constexpr (P::act != 0) {  // gates are the first half of a strip, what they open the second
    uint32_t packed[4];
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const float x = gate(P::act, y[j]) * shfl_xor(y[j], 1) * P::scale;
      const float z = gate(P::act, y[j + 1]) * shfl_xor(y[j + 1], 1) * P::scale;
      packed[j / 2] = pair_of(x, z);
    }
    if (in && half == 0)
      *reinterpret_cast<uint4*>(chunks<P>(a) + chunk_place(row, column)) =
          make_uint4(packed[0], packed[1], packed[2], packed[3]);
  } else {
    if constexpr (P::bias >= 0) {
      if (term == 0) {
        const float* bias = fresh(a.pool) + P::bias + layer * P::bias_step + column + half * 8;
#pragma unroll
        for (int j = 0; j < 8; j++) y[j] += load_constant(bias + j);
      }
    }
#pragma unroll
    for (int j = 0; j < 8; j++) {
      y[j] *= P::scale;
      if constexpr (P::cap != 0) y[j] = capped(y[j] * (2.8853900817779268f / P::cap), P::cap);
    }
  }
  if constexpr (P::logits) {
    uint64_t best = 0;
    if (in) {
      const int first = column + half * 8;
      float* to = fresh(a.logits) + static_cast<int64_t>(row) * P::n + first;
      *reinterpret_cast<Four*>(to) = {y[0], y[1], y[2], y[3]};
      *reinterpret_cast<Four*>(to + 4) = {y[4], y[5], y[6], y[7]};
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const uint64_t key = key_of(y[j], static_cast<uint32_t>(first + j));
        best = key > best ? key : best;
      }
    }
    const uint64_t other = shfl_xor(best, 1);
    best = other > best ? other : best;
    if (in && half == 0 && best > s.best[0][warp][row]) s.best[0][warp][row] = best;
  } else if constexpr (P::act == 0) {  // a unit's last four columns go with its first two packets
    const uint32_t p[4] = {pair_of(y[0], y[1]), pair_of(y[2], y[3]), pair_of(y[4], y[5]),
                           pair_of(y[6], y[7])};
    const uint32_t x = shfl_xor(p[2], 1), z = shfl_xor(p[3], 1);
    if (!in) return;
    uint4* to =
        fresh(a.packets) + P::out + (term * Model::kRows + row) * (P::n / 16 * 3) + column / 16 * 3;
    if (half == 0) {
      send_packet<P>(a, to, make_uint4(p[0], p[1], x, told));
      send_packet<P>(a, to + 1, make_uint4(p[2], p[3], z, told));
    } else {
      send_packet<P>(a, to + 2, make_uint4(p[0], p[1], 0, told));
    }
  }
}

/// A worker's strips of one range of the table.
template <class P>
TM_DEVICE void linear_rows(const Args& a, Smem& s, Place& at, Turn<kFeeds>& fed, int warp, int lane,
                           uint4 r, int layer, uint32_t epoch, uint32_t told) {
  const int k0 = static_cast<int>(r.z & 0xffff), end = k0 + static_cast<int>(r.z >> 16);
  const int strips = static_cast<int>(r.y), bands = bands_of(strips);
  const int g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (int band = 0; band < bands; band++) {
    const int first = strips * band / bands, n = strips * (band + 1) / bands - first;
    const Bench bench(n, warp);
    float sum[2][kBlocks][2][4] = {};
#pragma unroll 1
    for (int tile = k0; tile < end; tile++) {
      const int left = P::k / kPairColumns - tile * (kTileColumns / kPairColumns) - bench.pair;
      const int pairs = P::k % kTileColumns == 0 || left > bench.pairs ? bench.pairs : left;
      mb_wait(a, &s.feed_full[fed.slot], fed.turn, kReady, P::index);
      if (tile == k0 && band == 0) {
        stamp(a, epoch, warp, lane, 2);
        if (warp == 0 && lane == 0) *const_cast<volatile uint32_t*>(&s.now) = epoch;
      }
      const uint4* rows = reinterpret_cast<const uint4*>(s.feed[fed.slot]) + lane;
#pragma unroll
      for (int round = 0; round < 2; round++) {
        if (round >= bench.rounds) break;
        const int strip = bench.mine + round * bench.step;
        if (strip < n) {
          Place here = at;
          here.forward(strip);
          mb_wait(a, &s.full[here.slot], here.turn, kFull, P::index);
          const uint4* weights = reinterpret_cast<const uint4*>(s.ring[here.slot]) + lane;
#pragma unroll 2
          for (int i = bench.pair; i < bench.pair + pairs; i++) {
            const uint4 w0 = weights[i * 64], w1 = weights[i * 64 + 32];
#pragma unroll
            for (int b = 0; b < kBlocks; b++) {
              const uint4 x = rows[(i * kBlocks + b) * 32];
              mma(sum[round][b][0], w0, x.x, x.y);
              mma(sum[round][b][1], w1, x.z, x.w);
            }
          }
          warp_sync();
          if (Model::kStrict || lane == 0) mb_arrive_for(&s.empty[here.slot], bench.step);
        }
        // No warp is a turn of the ring ahead of another one: a barrier's parity would lie to it.
        bar_sync(1);
      }
      if (Model::kStrict || (warp == 0 && lane == 0)) mb_arrive(&s.feed_empty[fed.slot]);
      fed.next();
      at.forward(n);
    }
    stamp(a, epoch, warp, lane, 3);
#pragma unroll
    for (int round = 0; round < 2; round++) {
      const int strip = bench.mine + round * bench.step;
      const bool some = round < bench.rounds && strip < n;
      if (some) {
#pragma unroll
        for (int b = 0; b < kBlocks; b++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const int row = 8 * b + 2 * t + i;
            if (row >= Model::kRows) continue;
            float* to = s.staged[warp][row];
            to[g] = sum[round][b][0][i] + sum[round][b][1][i];
            to[g + 8] = sum[round][b][0][i + 2] + sum[round][b][1][i + 2];
          }
        }
      }
      if (round == 0 && bench.ways > 1)
        bar_sync(1);
      else
        warp_sync();
      if (some && warp % bench.ways == 0) {
        float y[8] = {};
        if (lane / 2 < Model::kRows) {
#pragma unroll 1
          for (int w = 0; w < bench.ways; w++) {
            const float* from = s.staged[warp + w][lane / 2] + lane % 2 * 8;
            const Four p = *reinterpret_cast<const Four*>(from);
            const Four q = *reinterpret_cast<const Four*>(from + 4);
            y[0] += p.x, y[1] += p.y, y[2] += p.z, y[3] += p.w;
            y[4] += q.x, y[5] += q.y, y[6] += q.z, y[7] += q.w;
          }
        }
        send_strip<P>(a, s, y, warp, lane, static_cast<int>(r.x) + first + strip,
                      static_cast<int>(r.w), layer, told);
      }
      warp_sync();
    }
    if constexpr (P::tell >= 0) {
      bar_sync(1);
      if (warp == 0 && lane == 0) {
        Teller<P> teller(a, told == epoch);
        for (int i = 0; i < n; i++)
          teller.tell(column_of<P>(static_cast<int>(r.x) + first + i), 8 * Model::kRows);
        teller.flush();
      }
    }
  }
}

}  // namespace treadle::mega
