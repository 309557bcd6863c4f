// Attention of a row's query heads over one segment of positions: head norms and rope, the append
// of the new position, exact softmax of the segment in one pass, and its (m, l, o) to the fold.
#pragma once

namespace treadle::mega {

constexpr int kGroup = Model::kHeads / Model::kKvHeads;
constexpr int kRecord = Model::kHead / 16 * 3 + 1;  // packets of a head: o, then (m, l) in f32

/// Where the scratch memory keeps what.
struct Scratch {
  static constexpr int ml = 0, o = kWarps * kGroup * 2, end = o + kWarps * kGroup * Model::kHead;
};
static_assert(Scratch::end <= Model::kScratch);

constexpr bool kWide = Model::kHead > (kFed ? 64 : 128);  // registers do not hold the queries

/// Eight elements of a query as a lane has them of two products' left sides: rows of an mma, what
/// bf16 leaves of them in its other eight rows.
TM_DEVICE void split(const float* from, uint32_t (&r)[8]) {
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const float x = from[2 * j], y = from[2 * j + 1];
    r[2 * j] = pair_of(x, y);
    r[2 * j + 1] = pair_of(x - low(r[2 * j]), y - high(r[2 * j]));
  }
}

/// Norm and rope of one head by one warp, from x[d] in shared memory back to it. by: the norm's
/// weights, rope: cosines and sines, of this lane; square: this lane's part of the sum of squares.
template <int N>
TM_DEVICE void turn(float* x, bool normed, const float (&by)[N][2], float eps,
                    const float (&rope)[N][2], float scale, float square, int lane) {
  constexpr int kHalf = Model::kHead / 2;
  static_assert(Model::kTurned == kHalf, "rope turns whole heads");
  float u[N], w[N], root = 1;
#pragma unroll
  for (int i = 0; i < N; i++) {
    const int at = lane + 32 * i;
    u[i] = at < kHalf ? x[at] : 0.f;
    w[i] = at < kHalf ? x[at + kHalf] : 0.f;
  }
  if (normed) {
#pragma unroll
    for (int m = 16; m; m >>= 1) square += shfl_xor(square, m);
    root = inverse_root(square * (1.0f / Model::kHead) + eps);
  }
#pragma unroll
  for (int i = 0; i < N; i++) {
    const int at = lane + 32 * i;
    if (at >= kHalf) continue;
    const float c = rope[i][0], n = rope[i][1];
    const float p = normed ? u[i] * root * by[i][0] : u[i];
    const float r = normed ? w[i] * root * by[i][1] : w[i];
    x[at] = (p * c - r * n) * scale;
    x[at + kHalf] = (r * c + p * n) * scale;
  }
}

/// Cosine and sine of a row's position: kept a step, or, of many rows, made when they are wanted.
template <class P>
TM_DEVICE void angle(const Args& a, const Smem& s, int row, int layer, int at, float (&to)[2]) {
  const int table = Model::kRopes > 1 ? kind_of<P>(layer) : 0;
  if constexpr (kFed) {
    const float by = load_constant(fresh(a.pool) + table * Model::kRope1 + at);
    turn_of(static_cast<float>(s.position[row]) * by, to[1], to[0]);
    to[0] *= Model::kMscale, to[1] *= Model::kMscale;
  } else {
    to[0] = s.rope[table][row][0][at], to[1] = s.rope[table][row][1][at];
  }
}

/// q of the item's heads, unless it is there from the item before, and the new k and v where the
/// item holds the new position: a warp a head.
template <class P>
TM_DEVICE void load_heads(const Args& a, Smem& s, const Item& item, bool same, bool last, int warp,
                          int lane, int layer, uint32_t epoch) {
  constexpr int d = Model::kHead, kPackets = d / 16 * 3, kMost = (kPackets + 31) / 32;
  constexpr int kMine = (d / 2 + 31) / 32;
#pragma unroll 1
  for (int head = same ? kGroup + warp : warp; head < (last ? kGroup + 2 : kGroup);
       head += kWarps) {
    const bool query = head < kGroup;
    int column = item.head * kGroup * d + head * d;
    if (head == kGroup) column = Model::kHeads * d + item.head * d;
    if (head > kGroup) column = (Model::kHeads + Model::kKvHeads + item.head) * d;
    float by[kMine][2] = {};
    if constexpr (P::q_norm >= 0) {
      const float* norm = fresh(a.pool) + (query ? P::q_norm : P::k_norm) + layer * P::head_step;
#pragma unroll
      for (int i = 0; i < kMine; i++) {
        if (lane + 32 * i >= d / 2) continue;
        by[i][0] = load_one(norm + lane + 32 * i);
        by[i][1] = load_one(norm + lane + 32 * i + d / 2);
      }
    }
    float rope[kMine][2] = {};
#pragma unroll
    for (int i = 0; i < kMine; i++) {
      if (head <= kGroup && lane + 32 * i < d / 2)
        angle<P>(a, s, item.row, layer, lane + 32 * i, rope[i]);
    }
    uint4 v[P::in_terms * kMost];
    uint32_t mask = 0;
#pragma unroll
    for (int i = 0; i < P::in_terms * kMost; i++)
      if (lane + i % kMost * 32 < kPackets) mask |= 1u << i;
    constexpr int kTerm = Model::kRows * (P::k / 16 * 3);
    const int base = P::in + item.row * (P::k / 16 * 3) + column / 16 * 3 + lane;
    poll(
        a, [&](int i) { return base + i / kMost * kTerm + i % kMost * 32; }, mask, epoch, P::index,
        v);
    stamp(a, epoch + 1, warp, lane, 1);
    float* to = s.heads + head * d;
    float square = 0;  // of what this lane has polled
#pragma unroll
    for (int i = 0; i < kMost; i++) {
      const int p = lane + 32 * i, unit = p / 3 * 16, j = p % 3;
      if (p >= kPackets) continue;
      float x[6];
      widen(v[i], x);
#pragma unroll
      for (int term = 1; term < P::in_terms; term++) {
        float y[6];
        widen(v[term * kMost + i], y);
#pragma unroll
        for (int e = 0; e < 6; e++) x[e] += y[e];
      }
      *reinterpret_cast<Four*>(to + unit + 4 * j) = {x[0], x[1], x[2], x[3]};
      square += x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3];
      if (j == 2) continue;
      *reinterpret_cast<Two*>(to + unit + 12 + 2 * j) = {x[4], x[5]};
      square += x[4] * x[4] + x[5] * x[5];
    }
    if (head > kGroup) continue;  // v
    warp_sync();
    turn(to, P::q_norm >= 0, by, query ? P::q_eps : P::k_eps, rope,
         query ? P::scale * (P::cap ? 2 / P::cap : 1.0f) * 1.4426950408889634f : 1.0f, square,
         lane);
    if constexpr (kWide) {  // what the products read, in the same place
      warp_sync();
      if (query && lane < d / 8) {
        uint32_t r[8];
        split(to + lane * 8, r);
        uint4* there = reinterpret_cast<uint4*>(to + lane * 8);
        there[0] = make_uint4(r[0], r[1], r[2], r[3]);
        there[1] = make_uint4(r[4], r[5], r[6], r[7]);
      }
    }
  }
  bar_sync(1);
}

/// The head that row g of the scores' left side is of: rows of no head repeat the last one's.
TM_DEVICE int mine_of(int g) {
  return g < kGroup ? g : kGroup - 1;
}

/// Tile `n` of the page that begins at a place of the ring.
TM_DEVICE uint16_t* tile_of(Smem& s, Place at, int n) {
  at.forward(n);
  return reinterpret_cast<uint16_t*>(s.ring[at.slot]);
}
constexpr int kWarpsTile = kWarps / kHalfTiles;  // whose positions a tile holds

/// N columns of two positions' values, by a lane, times all heads' weights of them. Values are the
/// left side of the products, positions 0 to 7 and, once more, 8 to 15; the right side are weights
/// in bf16 and what that leaves of them.
template <int N>
TM_DEVICE void add_values(const uint16_t* v, int stride, int here, uint32_t weight, uint32_t rest,
                          float (&o)[N / 2][4]) {
  constexpr int kEach = N % 8 ? 2 : 4;  // words of a load
#pragma unroll
  for (int first = 0; first < N / 2; first += kEach) {
    uint32_t x[2][4];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      uint4 w = make_uint4(0, 0, 0, 0);  // never written positions may be NaN
      if (r < here) {
        const uint16_t* from = v + r * stride + 2 * first;
        if constexpr (kEach == 4) {
          w = *reinterpret_cast<const uint4*>(from);
        } else {
          const Pairs p = *reinterpret_cast<const Pairs*>(from);
          w.x = p.x, w.y = p.y;
        }
      }
      x[r][0] = w.x, x[r][1] = w.y, x[r][2] = w.z, x[r][3] = w.w;
    }
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      const uint32_t even = (x[0][i] & 0xffff) | x[1][i] << 16;
      const uint32_t odd = x[0][i] >> 16 | (x[1][i] & 0xffff0000u);
      mma(o[first + i], make_uint4(even, odd, even, odd), weight, rest);
    }
  }
}

/// The item's pages: a warp takes 8 positions of each, four lanes a position for the scores; for
/// the sums, a lane has two positions and an eighth of the head.
template <class P>
TM_DEVICE void attend_item(const Args& a, Smem& s, Place& at, const Item& item, bool same, int warp,
                           int lane, int layer, uint32_t read, uint32_t epoch) {
  constexpr int d = Model::kHead, kSpan = d / 8, kChunks = d / 32;
  const int position = s.position[item.row], newest = position / kPage, kind = kind_of<P>(layer);
  const int seen = seen_from(kind, position);
  const int first = item.segment * segment_pages(kind, position);
  const int end = last_page(kind, item.segment, position);
  const bool last = end == newest;
  const int64_t append = last ? fresh(a.pages)[item.row * a.row_pages + newest] : 0;  // wanted late
  load_heads<P>(a, s, item, same, last, warp, lane, layer, read);
  const int g = lane / 4, t = lane % 4;
  static_assert(kGroup <= 8);
  uint4 q[kWide ? 1 : kChunks][2];
#pragma unroll
  for (int c = 0; c < kChunks && !kWide; c++) {
    uint32_t r[8];
    split(s.heads + mine_of(g) * d + (c * 4 + t) * 8, r);
    q[c][0] = make_uint4(r[0], r[1], r[2], r[3]);
    q[c][1] = make_uint4(r[4], r[5], r[6], r[7]);
  }
  float m = -INFINITY, l = 0;  // of head g; l of this lane's positions
  float o[kSpan / 2][4] = {};  // columns 2i and 2i + 1 of the lane's, of heads 2t and 2t + 1 each
  stamp(a, read + 1, warp, lane, 2);
  const int begin = kWindows && seen / kPage > first ? seen / kPage : first;
  for (int page = begin; page <= end; page++) {
    constexpr bool kOne = 4 * kPage * d <= kTile;
    const Place begun = at;
    const int slot = at.slot;
    mb_wait(a, &s.full[slot], at.turn, kFull, P::index);
    uint16_t* keys = reinterpret_cast<uint16_t*>(s.ring[slot]);
    uint16_t* values = keys + kPage * d;
    if constexpr (!kOne) {
      // All tiles, also those of other warps' positions: else a warp might free a slot a turn
      // ahead.
#pragma unroll
      for (int tile = 1; tile < 2 * kHalfTiles; tile++) {
        at.next();
        mb_wait(a, &s.full[at.slot], at.turn, kFull, P::index);
      }
      values = reinterpret_cast<uint16_t*>(s.ring[at.slot]);
      if constexpr (kHalfTiles > 1) {
        keys = tile_of(s, begun, warp / kWarpsTile);
        values = tile_of(s, begun, kHalfTiles + warp / kWarpsTile);
      }
    }
    const int base = page * kPage + warp * 8, here = position + 1 - base;  // of 8 positions
    const int mine = kHalfTiles > 1 ? warp % kWarpsTile * 8 : warp * 8;  // where its tile has them
    if (page == newest && position % kPage / 8 == warp) {  // only this warp reads the new position
      const int to = (mine + position % 8) * d;
      for (int i = 2 * lane; i < d; i += 64) {
        const float* k = s.heads + kGroup * d + i;
        *reinterpret_cast<uint32_t*>(keys + to + i) = pair_of(k[0], k[1]);
        *reinterpret_cast<uint32_t*>(values + to + i) = pair_of(k[d], k[d + 1]);
      }
      fence_shared_copies();  // the tile's slot is the copy engine's again
      warp_sync();
    }
    if (here > 0 && (!kWindows || base + 8 > seen)) {
      float sum[2][4] = {};
#pragma unroll
      for (int c = 0; c < kChunks; c++) {
        const uint4 k = *reinterpret_cast<const uint4*>(keys + (mine + g) * d + (c * 4 + t) * 8);
        if constexpr (kWide) {
          const uint4* from =
              reinterpret_cast<const uint4*>(s.heads + mine_of(g) * d + (c * 4 + t) * 8);
          q[0][0] = from[0], q[0][1] = from[1];
        }
        mma(sum[0], q[kWide ? 0 : c][0], k.x, k.y);
        mma(sum[1], q[kWide ? 0 : c][1], k.z, k.w);
      }
      float p[2];  // of head g at positions 2t and 2t + 1
#pragma unroll
      for (int i = 0; i < 2; i++) {
        p[i] = sum[0][i] + sum[0][i + 2] + sum[1][i] + sum[1][i + 2];
        if constexpr (P::cap != 0) p[i] = capped(p[i], P::cap * 1.4426950408889634f);
        if (2 * t + i >= here || (kWindows && base + 2 * t + i < seen)) p[i] = -INFINITY;
      }
      float most = p[0] > p[1] ? p[0] : p[1];
#pragma unroll
      for (int i = 1; i < 4; i <<= 1) {
        const float other = shfl_xor(most, i);
        most = other > most ? other : most;
      }
      most = m > most ? m : most;
      const float keep = power2(m - most);
      p[0] = power2(p[0] - most), p[1] = power2(p[1] - most);
      l = l * keep + p[0] + p[1];
      m = most;
      if (warp_any(keep != 1)) {
        const float one = shfl(keep, 8 * t), two = shfl(keep, 8 * t + 4);
#pragma unroll
        for (int i = 0; i < kSpan / 2; i++)
          o[i][0] *= one, o[i][1] *= two, o[i][2] *= one, o[i][3] *= two;
      }
      const uint32_t weight = pair_of(p[0], p[1]);
      const uint32_t rest = pair_of(p[0] - low(weight), p[1] - high(weight));
      add_values<kSpan>(values + (mine + 2 * t) * d + g * kSpan, d, here - 2 * t, weight, rest, o);
    }
    warp_sync();
    if (Model::kStrict || lane == 0) {
      mb_arrive(&s.empty[slot]);
      if constexpr (!kOne) {
#pragma unroll
        for (int tile = 1; tile < 2 * kHalfTiles - 1; tile++) {
          Place here = begun;
          here.forward(tile);
          mb_arrive(&s.empty[here.slot]);
        }
        mb_arrive(&s.empty[at.slot]);
      }
    }
    at.next();
  }
  stamp(a, read + 1, warp, lane, 3);
  float* scratch = scratch_of(s);
  l += shfl_xor(l, 1);
  l += shfl_xor(l, 2);
  if (t == 0 && g < kGroup) {
    float* ml = scratch + Scratch::ml + (warp * kGroup + g) * 2;
    ml[0] = m, ml[1] = l;
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    if (2 * t + h >= kGroup) continue;
    float* to = scratch + Scratch::o + (warp * kGroup + 2 * t + h) * d + g * kSpan;
#pragma unroll
    for (int i = 0; i < kSpan / 2; i += 2)
      *reinterpret_cast<Four*>(to + 2 * i) = {o[i][h], o[i][h + 2], o[i + 1][h], o[i + 1][h + 2]};
  }
  // The new position goes to its page by the warps that have least to do behind the barrier, but is
  // read before it. The copy engine reads it in the next step: `linear` orders that, once a step.
  const int element = kWarps * 32 - 1 - (warp * 32 + lane);
  uint32_t pair = 0;
  if (last && element < d) {
    const float* k = s.heads + kGroup * d + element;
    pair = pair_of(k[0], k[d]);
  }
  bar_sync(1);
  if (last && element < d) {
    uint16_t* to = reinterpret_cast<uint16_t*>(reinterpret_cast<unsigned char*>(fresh(a.kv)) +
                                               (P::state + layer) * a.state_bytes) +
                   ((append * Model::kKvHeads + item.head) * 2 * kPage + position % kPage) * d +
                   element;
    to[0] = static_cast<uint16_t>(pair);
    to[kPage * d] = static_cast<uint16_t>(pair >> 16);
  }
#pragma unroll 1
  for (int p = warp * 32 + lane; p < kGroup * kRecord; p += 256) {
    const int h = p / kRecord, at = p % kRecord;
    const float* ml = scratch + Scratch::ml + h * 2;
    const float* from = scratch + Scratch::o + h * d;
    float most = -INFINITY, total = 0, x[6] = {};
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
      const float other = ml[w * kGroup * 2];
      most = other > most ? other : most;
    }
    // Who has the sums or no pair of the last four reads some other columns: no branches, so that
    // all loads are on their way at once.
    const bool sums = at == kRecord - 1;
    const int unit = sums ? 0 : at / 3 * 16, j = at % 3, rest = unit + (j < 2 ? 12 + 2 * j : 0);
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
      const Two one = *reinterpret_cast<const Two*>(ml + w * kGroup * 2);
      const Four y = *reinterpret_cast<const Four*>(from + w * kGroup * d + unit + 4 * j);
      const Two z = *reinterpret_cast<const Two*>(from + w * kGroup * d + rest);
      const float weight = power2(one.x - most);
      total += weight * one.y;
      x[0] += weight * y.x, x[1] += weight * y.y, x[2] += weight * y.z, x[3] += weight * y.w;
      x[4] += weight * z.x, x[5] += weight * z.y;
    }
    const int to =
        P::out +
        (((kStretched ? item.segment % kSegments : item.segment) * Model::kRows + item.row) *
             Model::kHeads +
         item.head * kGroup + h) *
            kRecord +
        at;
    store_packet(fresh(a.packets) + to, make_uint4(sums ? bits_of(most) : pair_of(x[0], x[1]),
                                                   sums ? bits_of(total) : pair_of(x[2], x[3]),
                                                   pair_of(x[4], x[5]), epoch));
  }
}

}  // namespace treadle::mega
