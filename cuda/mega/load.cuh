// What a linear reads: packets of a row, or the residual stream with its norm's weight. A warp
// loads just the columns that it multiplies, and nobody waits for another warp: the norm's factor
// is applied to the outputs (linear.cuh).
#pragma once

namespace treadle::mega {

constexpr int kTilePairs = kTileColumns / kPairColumns;

/// The packets of a linear's input that a warp takes: 32 columns in eight belong to it.
template <class P>
struct Share {
  static constexpr int kAll = P::k / kPairColumns;
  static constexpr int kPairs = P::klen * kTilePairs < kAll ? P::klen * kTilePairs : kAll;
  static constexpr int kUnits = kPairColumns / P::in_unit, kEach = packets_of(P::in_unit);
  static constexpr int kPair = kUnits * kEach;  // packets of a pair of 16 columns
  static constexpr int kAtOnce = 32 / kPair;    // pairs that a warp asks for at once
  static constexpr int kStep = kWarps * kAtOnce;
  static constexpr int kMost = (kPairs + kStep - 1) / kStep;
  static constexpr int kRow = kAll * kPair;  // packets of a row
  static_assert(P::k % kPairColumns == 0 && kMost <= 32);

  // Places of the first packet; the others follow at constant distances. They are made before the
  // packet is awaited, not again behind it.
  int pair, end, base;  // base: column that the activations in shared memory begin with
  int first_packet, first_column, first_rest;
  TM_DEVICE Share(int warp, int lane, int first, int last)
      : pair(lane < kAtOnce * kPair ? first * kTilePairs + warp + kWarps * (lane / kPair) : kAll),
        end(last * kTilePairs < kAll ? last * kTilePairs : kAll),
        base(first * kTileColumns) {
    const int piece = lane % kPair, j = piece % kEach;
    const int unit = pair * kPairColumns + piece / kEach * P::in_unit;
    first_packet = (P::in_turned ? turned_pair(pair, kAll) : pair) * kPair + piece;
    first_column = fresh(unit + j * 4);
    first_rest = fresh(P::in_unit == 16 && j < 2 ? unit + 12 + j * 2 : -1);
  }
  TM_DEVICE bool has(int i) const { return pair + kStep * i < end; }
  TM_DEVICE int packet(int i) const {
    return first_packet + (P::in_turned ? kAtOnce : kStep) * kPair * i;
  }
  TM_DEVICE int column(int i) const { return first_column + kStep * kPairColumns * i; }  // of four
  TM_DEVICE bool more() const { return P::in_unit == 16 && first_rest >= 0; }
  TM_DEVICE int rest(int i) const { return first_rest + kStep * kPairColumns * i; }  // of two more
  TM_DEVICE uint32_t mask() const {
    uint32_t m = 0;
#pragma unroll
    for (int i = 0; i < kMost; i++)
      if (has(i)) m |= 1u << i;
    return m;
  }
};

/// Where a phase's columns are not whole rounds of all warps, some warps have nothing to wait for
/// and would run ahead through barriers that others have yet to reach.
template <class P>
TM_DEVICE void keep_together() {
  if constexpr (P::k % (kWarps * kPairColumns) != 0) bar_sync(1);
}

/// Rows as they come, as many at once as registers hold: one way to the cache and back.
template <class P>
TM_DEVICE void load_plain(const Args& a, Smem& s, int warp, int lane, uint32_t epoch, int first,
                          int last) {
  using T = Share<P>;
  constexpr int kFit = T::kMost < 16 ? 16 / T::kMost : 1;
  constexpr int kRows = kFit < Model::kRows ? kFit : Model::kRows;
  const T share(warp, lane, first, last);
  keep_together<P>();
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row += kRows) {
    uint4 v[kRows * T::kMost];
    uint32_t mask = 0;
#pragma unroll
    for (int r = 0; r < kRows; r++)
      if (row + r < Model::kRows) mask |= share.mask() << r * T::kMost;
    const int base = P::in + row * T::kRow;
    auto place = [&](int i) { return base + i / T::kMost * T::kRow + share.packet(i % T::kMost); };
    poll(a, place, mask, epoch, P::index, v);
    stamp(a, epoch + 1, warp, lane, 1);
#pragma unroll
    for (int i = 0; i < kRows * T::kMost; i++) {
      const int n = i % T::kMost, to = row + i / T::kMost;
      if (!share.has(n) || to >= Model::kRows) continue;
      *reinterpret_cast<Pairs*>(&s.act[to][share.column(n) - share.base]) = {v[i].x, v[i].y};
      if (share.more())
        *reinterpret_cast<uint32_t*>(&s.act[to][share.rest(n) - share.base]) = v[i].z;
    }
  }
  warp_sync();
}

/// The columns of the residual stream that a lane has, with the norm's weights. The stream stays
/// where it is; an element always belongs to the same lane.
template <class P>
struct Stream {
  using T = Share<P>;
  static constexpr int kTerms = P::first ? 1 : P::in_terms;
  const T share;
  float x[T::kMost][6] = {}, w[T::kMost][6] = {};  // see `poll`
  float square = 0;                                // of x, this lane's part of the sum
  float p[P::post < 0 ? 1 : T::kMost][6] = {};     // weights of the norm behind the branch

  TM_DEVICE Stream(const Args& a, int warp, int lane, int layer) : share(warp, lane, 0, P::klen) {
    load_norm(fresh(a.pool) + P::norm + layer * P::norm_step, w);
    if constexpr (P::post >= 0) load_norm(fresh(a.pool) + P::post + layer * P::post_step, p);
  }

  /// This lane's weights of a norm.
  TM_DEVICE void load_norm(const float* norm, float (&to)[T::kMost][6]) const {
    const uint64_t policy = evict_last();
#pragma unroll
    for (int i = 0; i < T::kMost; i++) {
      if (!share.has(i)) continue;
      const int at = share.column(i);
      load_kept(norm + at, policy, to[i][0], to[i][1]);
      load_kept(norm + at + 2, policy, to[i][2], to[i][3]);
      if (share.more()) load_kept(norm + share.rest(i), policy, to[i][4], to[i][5]);
    }
  }

  /// Adds what a row of the stream was to the terms of its branch, normed where the model does so.
  TM_DEVICE void join(Smem& s, const float* kept, int row, int warp, int lane) {
    float part = 0;
#pragma unroll
    for (int i = 0; i < T::kMost; i++)
#pragma unroll
      for (int e = 0; e < 6; e++)  // a third packet of a unit has nothing in its last two
        if (e < 4 || share.more()) part += x[i][e] * x[i][e];
    const float root = branch_root<P>(s, part, warp, lane, row);
#pragma unroll
    for (int i = 0; i < T::kMost; i++) {
      if (!share.has(i)) continue;
#pragma unroll
      for (int e = 0; e < 6; e++) x[i][e] *= root * p[i][e];
      const Four old = *reinterpret_cast<const Four*>(kept + share.column(i));
      x[i][0] += old.x, x[i][1] += old.y, x[i][2] += old.z, x[i][3] += old.w;
      if (!share.more()) continue;
      const Two two = *reinterpret_cast<const Two*>(kept + share.rest(i));
      x[i][4] += two.x, x[i][5] += two.y;
    }
  }

  /// Where the stream is kept: by all workers, or by the one whose row it is.
  TM_DEVICE static float* place(const Args& a, Smem& s, int row) {
    if constexpr (Model::kFar < 0) return s.residual[row];
    return reinterpret_cast<float*>(fresh(a.packets) + Model::kFar) + row * Model::kWidth;
  }

  /// The token's row, or what it was plus the terms in their order.
  TM_DEVICE void sum(const Args& a, Smem& s, int row, int warp, int lane, uint32_t epoch) {
    float* kept = place(a, s, row);
    if constexpr (P::first) {
      const uint16_t* from = fresh(a.embed) + static_cast<int64_t>(s.token[row]) * P::k;
#pragma unroll
      for (int i = 0; i < T::kMost; i++) {
        if (!share.has(i)) continue;
#pragma unroll
        for (int e = 0; e < 6; e++) {
          if (e >= 4 && !share.more()) continue;
          const int at = e < 4 ? share.column(i) + e : share.rest(i) + e - 4;
          x[i][e] = low(load_constant(from + at)) * Model::kEmbedScale;
        }
      }
    } else {
#pragma unroll
      for (int i = 0; i < T::kMost; i++) {
        if (P::post >= 0) {
          for (int e = 0; e < 6; e++) x[i][e] = 0;
          continue;  // see `join`
        }
        if (!share.has(i)) continue;
        const Four old = *reinterpret_cast<const Four*>(kept + share.column(i));
        x[i][0] = old.x, x[i][1] = old.y, x[i][2] = old.z, x[i][3] = old.w;
        if (!share.more()) continue;
        const Two two = *reinterpret_cast<const Two*>(kept + share.rest(i));
        x[i][4] = two.x, x[i][5] = two.y;
      }
      // As many terms at once as registers hold: one way to the cache and back.
      constexpr int kRoom = Model::kFar < 0 ? 16 : 8;  // a kernel of many rows has fewer to spare
      constexpr int kFit = T::kMost < kRoom ? kRoom / T::kMost : 1;
      constexpr int kAtOnce = kFit < kTerms ? kFit : kTerms;
      constexpr int kTerm = Model::kRows * T::kRow;
#pragma unroll 1
      for (int first = 0; first < kTerms; first += kAtOnce) {
        uint4 v[kAtOnce * T::kMost];
        uint32_t mask = 0;
#pragma unroll
        for (int term = 0; term < kAtOnce; term++)
          if (first + term < kTerms) mask |= share.mask() << term * T::kMost;
        const int base = P::in + row * T::kRow + first * kTerm;
        auto at = [&](int i) { return base + i / T::kMost * kTerm + share.packet(i % T::kMost); };
        poll(a, at, mask, epoch, P::index, v);
#pragma unroll
        for (int i = 0; i < kAtOnce * T::kMost; i++) {  // what nobody asked for is zero
          float y[6];
          widen(v[i], y);
#pragma unroll
          for (int e = 0; e < 6; e++) x[i % T::kMost][e] += y[e];
        }
      }
      if constexpr (P::post >= 0) join(s, kept, row, warp, lane);
    }
    square = 0;
#pragma unroll
    for (int i = 0; i < T::kMost; i++) {
      if (!share.has(i)) continue;
      *reinterpret_cast<Four*>(kept + share.column(i)) = {x[i][0], x[i][1], x[i][2], x[i][3]};
#pragma unroll
      for (int e = 0; e < 4; e++) square += x[i][e] * x[i][e];
      if (!share.more()) continue;
      *reinterpret_cast<Two*>(kept + share.rest(i)) = {x[i][4], x[i][5]};
      square += x[i][4] * x[i][4] + x[i][5] * x[i][5];
    }
  }

  /// The sum times the norm's weight and a factor, as a packet has it.
  TM_DEVICE uint4 packet(int i, float by, uint32_t epoch) const {
    float y[6];
#pragma unroll
    for (int e = 0; e < 6; e++) y[e] = x[i][e] * w[i][e] * by;
    return make_uint4(pair_of(y[0], y[1]), pair_of(y[2], y[3]), pair_of(y[4], y[5]), epoch);
  }
};

/// Sums of squares of a row over a warp, or what its lanes have of it.
template <class P>
TM_DEVICE void note_square(Smem& s, int row, int warp, int lane, float square) {
  if constexpr (kSquares == 1) {
#pragma unroll
    for (int m = 16; m; m >>= 1) square += shfl_xor(square, m);
  }
  // The sums of the norm before may still be in use.
  if (lane < kSquares) s.squares[P::act ? 1 : 0][row][warp][lane] = square;
}

/// The residual stream as a linear's input, the same in every worker.
template <class P>
TM_DEVICE void load_sum(const Args& a, Smem& s, int warp, int lane, int layer, uint32_t epoch) {
  Stream<P> stream(a, warp, lane, layer);
  keep_together<P>();
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    stream.sum(a, s, row, warp, lane, epoch);
    stamp(a, epoch + 1, warp, lane, 1);
#pragma unroll
    for (int i = 0; i < Share<P>::kMost; i++) {
      if (!stream.share.has(i)) continue;
      const uint4 p = stream.packet(i, 1.0f, 0);
      *reinterpret_cast<Pairs*>(&s.act[row][stream.share.column(i)]) = {p.x, p.y};
      if (stream.share.more())
        *reinterpret_cast<uint32_t*>(&s.act[row][stream.share.rest(i)]) = p.z;
    }
    note_square<P>(s, row, warp, lane, stream.square);
  }
  warp_sync();
}

/// The factor of a row's norm: a whole warp, after a barrier.
template <class P>
TM_DEVICE float root_of(const Smem& s, int row, int lane) {
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; w++)
    total += s.squares[P::act ? 1 : 0][row][w][kSquares == 1 ? 0 : lane];
  if constexpr (kSquares > 1) {
#pragma unroll
    for (int m = 16; m; m >>= 1) total += shfl_xor(total, m);
  }
  return inverse_root(total * (1.0f / P::k) + P::eps);
}

/// Rows first to last of the residual stream, which only this worker has, normed and sent to all.
template <class P>
TM_DEVICE void send_sum(const Args& a, Smem& s, int warp, int lane, int layer, uint32_t epoch,
                        int first, int last, uint32_t told) {
  if (first == last) return;
  Stream<P> stream(a, warp, lane, layer);
#pragma unroll 1
  for (int row = first; row < last; row++) {
    stream.sum(a, s, row, warp, lane, epoch);
    stamp(a, epoch + 1, warp, lane, 1);
    note_square<P>(s, row, warp, lane, stream.square);
    bar_sync(1);
    const float root = root_of<P>(s, row, lane);
#pragma unroll
    for (int i = 0; i < Share<P>::kMost; i++) {
      if (!stream.share.has(i)) continue;
      store_packet(fresh(a.packets) + P::out + row * Share<P>::kRow + stream.share.packet(i),
                   stream.packet(i, root, told));
    }
  }
  bar_sync(1);  // the sums of squares have been read
}

}  // namespace treadle::mega
