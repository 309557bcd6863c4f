// Mixture of experts: every worker repeats the choice on the router's logits and takes its range of
// the (expert, strip) units of gate and up; its strips of down are the plan's, over all experts in
// use. The weights of an expert are known only then, so its producer waits for the choice.
#pragma once

#include "leave.cuh"

namespace treadle::mega {

/// Where an expert's strip lies: experts in their order, behind the streams of the workers.
template <class P>
TM_DEVICE const unsigned char* strip_of(const Args& a, int layer, int expert, int strip) {
  const uint64_t behind = (a.starts[Model::kWorkers] + 1023) & ~uint64_t{1023};
  const uint64_t site = static_cast<uint64_t>(P::kib + layer * P::kib_step) * 1024;
  const uint64_t strips = static_cast<uint64_t>(expert) * P::strips + strip;
  return a.stream + behind + site + strips * (P::k / kPairColumns * Form<kBf16>::kPair);
}

/// A worker's units, first and the one behind the last: unit i is strip i % strips of the expert in
/// use i / strips.
template <class P>
TM_DEVICE int2 units_of(const Smem& s) {
  const uint4 r = s.ranges[P::index][0];
  const int all = s.routed.used * P::strips;
  const int part = static_cast<int>(r.z), parts = static_cast<int>(r.w);
  return {all * part / parts, all * (part + 1) / parts};
}

// The choice -------------------------------------------------------------------------------------

/// A float's bits in its order, and back.
TM_DEVICE uint32_t ordered(uint32_t bits) {
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
TM_DEVICE float unordered(uint32_t key) {
  return float_of(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/// The best experts of a row and their weights, by one warp: lane i has the i-th.
template <class P>
TM_DEVICE void choose(const Args& a, Smem& s, int row, int warp, int lane, uint32_t epoch) {
  constexpr int kPackets = P::experts / 2, kMost = (kPackets + 31) / 32;
  constexpr float kLog2e = 1.4426950408889634f;
  uint4 v[kMost];
  uint32_t mask = 0, key[2 * kMost];
#pragma unroll
  for (int i = 0; i < kMost; i++)
    if (lane + 32 * i < kPackets) mask |= 1u << i;
  const int base = P::scores + row * kPackets + lane;
  poll(a, [&](int i) { return base + 32 * i; }, mask, epoch, P::index, v);
  stamp(a, epoch + 1, warp, lane, 1);
#pragma unroll
  for (int i = 0; i < kMost; i++) {
    key[2 * i] = mask >> i & 1 ? ordered(v[i].x) : 0;
    key[2 * i + 1] = mask >> i & 1 ? ordered(v[i].y) : 0;
  }
  float top = 0, score = 0;
  uint32_t chosen = 0;
#pragma unroll 1
  for (int n = 0; n < Model::kActive; n++) {
    uint32_t most = 0, index = P::experts - 1;
    auto number = [&](int j) { return static_cast<uint32_t>(2 * (lane + 32 * (j / 2)) + j % 2); };
#pragma unroll
    for (int j = 0; j < 2 * kMost; j++) most = key[j] > most ? key[j] : most;
    most = warp_max(most);
#pragma unroll
    for (int j = 0; j < 2 * kMost; j++)  // of equals the first
      if (key[j] == most && number(j) < index) index = number(j);
    index = warp_min(index);
#pragma unroll
    for (int j = 0; j < 2 * kMost; j++)
      if (number(j) == index) key[j] = 0;
    if (n == 0) top = unordered(most);
    if (lane == n) chosen = index, score = unordered(most);
  }
  float weight = 0, total = 0;
  if (lane < Model::kActive)
    weight =
        P::score & 1 ? 1.0f / (1.0f + power2(-kLog2e * score)) : power2(kLog2e * (score - top));
  if constexpr (P::score & 2) {
    total = weight;
  } else if constexpr (!(P::score & 1)) {
#pragma unroll
    for (int i = 0; i < kMost; i++)
      if (mask >> i & 1)
        total +=
            power2(kLog2e * (float_of(v[i].x) - top)) + power2(kLog2e * (float_of(v[i].y) - top));
  } else {
    total = lane == 0 ? 1.0f : 0.0f;
  }
#pragma unroll
  for (int m = 16; m; m >>= 1) total += shfl_xor(total, m);
  if (lane < Model::kActive) {
    s.routed.chosen[row][lane] = static_cast<uint16_t>(chosen);
    s.routed.weight[row][lane] = weight / total;
  }
}

/// Experts in use, ascending, and who of the rows chose which; then the producer may go on.
template <class P>
TM_DEVICE void route(const Args& a, Smem& s, int warp, int lane, uint32_t epoch) {
  constexpr int kEntries = Model::kRows * Model::kActive;
  Routed& r = s.routed;
  for (int i = warp * 32 + lane; i < Model::kMostUsed * Model::kRows; i += 256)
    r.pick[i / Model::kRows][i % Model::kRows] = kNobody;
#pragma unroll 1
  for (int row = warp; row < Model::kRows; row += kWarps) choose<P>(a, s, row, warp, lane, epoch);
  bar_sync(1);
  uint32_t bits = 0;  // of this lane's 32 experts those in use
#pragma unroll 8
  for (int i = 0; i < kEntries; i++) {
    const int e = r.chosen[i / Model::kActive][i % Model::kActive];
    if (e / 32 == lane) bits |= 1u << e % 32;
  }
  int upto = ones(bits);
#pragma unroll
  for (int d = 1; d < 32; d <<= 1) {
    const int other = shfl(upto, (lane - d) & 31);
    if (lane >= d) upto += other;
  }
  const int before = upto - ones(bits), used = shfl(upto, 31);
#pragma unroll 1
  for (int row = warp; row < Model::kRows; row += kWarps) {
    const int e = lane < Model::kActive ? r.chosen[row][lane] : 0;
    const int first = shfl(before, e / 32);
    const uint32_t others = shfl(bits, e / 32) & ((1u << e % 32) - 1);
    if (lane >= Model::kActive) continue;
    const int at = first + ones(others);
    r.list[at] = static_cast<uint16_t>(e);  // equal from every row
    r.pick[at][row] = static_cast<uint8_t>(lane);
  }
  if (warp == 0 && lane == 0) r.used = used;
  bar_sync(1);
  if (warp == 0 && lane == 0) mb_arrive(&r.ready);
}

// Gate and up ------------------------------------------------------------------------------------

/// Sums over warps, gates and weighs the outputs of one row and sends those of experts that it
/// chose: the work of one warp for a chunk of units. R: the router, whose norm the input has.
template <class P, class R>
TM_DEVICE void finish_unit(const Args& a, Smem& s, int set, int lane, int row, int unit0, int units,
                           uint32_t epoch) {
  const int i = lane / 4, part = lane % 4;
  const bool mine = i < units;
  float y[4] = {};
  if (mine) {
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
      const Four p = *reinterpret_cast<const Four*>(&s.partial[set][i][w][row][part * 4]);
      y[0] += p.x, y[1] += p.y, y[2] += p.z, y[3] += p.w;
    }
  }
  float root = 1;
  if constexpr (R::sum) root = root_of<R>(s, row, lane);
  const int at = mine ? (unit0 + i) / P::strips : 0, strip = (unit0 + i) % P::strips;
  const int pick = s.routed.pick[at][row];
  const bool sent = mine && pick != kNobody && part < 2;
  const float weight = pick != kNobody ? s.routed.weight[row][pick] : 0.0f;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const float up = shfl_xor(y[j], 2) * root;
    y[j] = gate(P::act, y[j] * root) * up * weight;
  }
  if (!sent) return;
  const int place = P::out + ((row * Model::kActive + pick) * P::strips + strip) * 2 + part;
  store_packet(fresh(a.packets) + place,
               make_uint4(pair_of(y[0], y[1]), pair_of(y[2], y[3]), 0, epoch));
}

template <class P, class R>
TM_DEVICE void experts_up(Consumer& c, int) {
  c.epoch++;
  Smem& s = fresh_shared(c.shared);
  const int me = fresh(thread()), warp = me / 32, lane = me % 32;
  stamp(c.a, c.epoch, warp, lane, 0);
  route<P>(c.a, s, warp, lane, c.epoch - 1);
  // What the router has read of the residual stream is still there; a norm that others made is not,
  // where this worker had no strip of the router.
  if constexpr (!R::sum) load_plain<P>(c.a, s, warp, lane, c.epoch - 2, 0, P::klen);
  stamp(c.a, c.epoch, warp, lane, 2);
  if (me == 0) *const_cast<volatile uint32_t*>(&s.now) = c.epoch;
  const int2 mine = units_of<P>(s);
  const uint32_t told = c.told();
#pragma unroll 1
  for (int first = mine.x; first < mine.y; first += Model::kChunk) {
    const int n = mine.y - first < Model::kChunk ? mine.y - first : Model::kChunk;
    c.set = (c.set + 1) % Model::kSets;
#pragma unroll 1
    for (int i = 0; i < n; i++)
      multiply<P>(c.a, s, c.at, Lane(warp, lane), warp, lane, 0, P::klen, 0,
                  s.partial[c.set][i][warp]);
    stamp(c.a, c.epoch, warp, lane, 3);
    bar_sync(1);
    const int owner = Model::kRows == 1 ? (first / Model::kChunk + P::index) % kWarps : warp;
    if (warp != owner) continue;  // never where rows are several
#pragma unroll 1
    for (int row = Model::kRows == 1 ? 0 : warp; row < Model::kRows; row += kWarps)
      finish_unit<P, R>(c.a, s, c.set, lane, row, first, n, told);
    if constexpr (Model::kSets == 1) bar_sync(1);
  }
  stamp(c.a, c.epoch, warp, lane, 4);
}

// Down -------------------------------------------------------------------------------------------

/// What the experts that a row chose have made, side by side: this warp's columns of all rows.
template <class P>
TM_DEVICE void load_chosen(const Args& a, Smem& s, int warp, int lane, uint32_t epoch) {
  using T = Share<P>;
  constexpr int kEntries = Model::kRows * Model::kActive;
  constexpr int kFit = T::kMost < 16 ? 16 / T::kMost : 1;
  constexpr int kAtOnce = kFit < kEntries ? kFit : kEntries;
  const T share(warp, lane, 0, P::klen);
  keep_together<P>();
#pragma unroll 1
  for (int first = 0; first < kEntries; first += kAtOnce) {
    uint4 v[kAtOnce * T::kMost];
    uint32_t mask = 0;
#pragma unroll
    for (int r = 0; r < kAtOnce; r++)
      if (first + r < kEntries) mask |= share.mask() << r * T::kMost;
    const int base = P::in + first * T::kRow;
    auto place = [&](int i) { return base + i / T::kMost * T::kRow + share.packet(i % T::kMost); };
    poll(a, place, mask, epoch, P::index, v);
    stamp(a, epoch + 1, warp, lane, 1);
#pragma unroll
    for (int i = 0; i < kAtOnce * T::kMost; i++) {
      const int n = i % T::kMost, entry = first + i / T::kMost;
      if (!share.has(n) || entry >= kEntries) continue;
      uint16_t* to = s.act[entry / Model::kActive] + entry % Model::kActive * P::k;
      *reinterpret_cast<Pairs*>(to + share.column(n)) = {v[i].x, v[i].y};
    }
  }
  warp_sync();
}

/// One strip over all experts in use, as `multiply`: a row that did not choose one counts as zeros.
template <class P>
TM_DEVICE void multiply_chosen(const Args& a, Smem& s, Place& at, int warp, int lane,
                               float (*to)[16]) {
  Sums sum = {};
  const int g = lane / 4, used = s.routed.used;
#pragma unroll 1
  for (int n = 0; n < used; n++) {
    int from[kBlocks];  // first column of what the expert has made, -1 none
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
      const int row = g + 8 * b;
      const int pick = row < Model::kRows ? s.routed.pick[n][row] : kNobody;
      from[b] = pick == kNobody ? -1 : row * Model::kActStride + pick * P::k;
    }
#pragma unroll 1
    for (int tile = 0; tile < P::klen; tile++) {
      const auto input = [&](int b, int column) {
        uint4 x = make_uint4(0, 0, 0, 0);
        if (from[b] >= 0)
          x = *reinterpret_cast<const uint4*>(&s.act[0][from[b] + tile * kTileColumns + column]);
        return x;
      };
      multiply_tile<P>(a, s, at, tile, warp, lane, input, sum);
    }
  }
  put_sums(sum, lane, to);
}

template <class P>
TM_DEVICE void experts_down(Consumer& c, int number) {
  c.epoch++;
  Smem& s = fresh_shared(c.shared);
  const int me = fresh(thread()), warp = me / 32, lane = me % 32;
  const int layer = fresh(number);
  stamp(c.a, c.epoch, warp, lane, 0);
  const uint4 r = s.ranges[P::index][0];
  const int strips = static_cast<int>(r.y);
  if (strips) load_chosen<P>(c.a, s, warp, lane, c.epoch - 1);
  stamp(c.a, c.epoch, warp, lane, 2);
  if (me == 0) *const_cast<volatile uint32_t*>(&s.now) = c.epoch;
  const uint32_t told = c.told();
#pragma unroll 1
  for (int first = 0; first < strips; first += Model::kChunk) {
    const int n = strips - first < Model::kChunk ? strips - first : Model::kChunk;
    c.set = (c.set + 1) % Model::kSets;
#pragma unroll 1
    for (int i = 0; i < n; i++)
      multiply_chosen<P>(c.a, s, c.at, warp, lane, s.partial[c.set][i][warp]);
    stamp(c.a, c.epoch, warp, lane, 3);
    bar_sync(1);
    const int owner = Model::kRows == 1 ? (first / Model::kChunk + P::index) % kWarps : warp;
    if (warp != owner) continue;
#pragma unroll 1
    for (int row = Model::kRows == 1 ? 0 : warp; row < Model::kRows; row += kWarps)
      finish<P>(c.a, s, c.set, warp, lane, row, static_cast<int>(r.x) + first, n, 0,
                place_of<P>(static_cast<int>(r.x) + first, lane, 0), layer, told);
    if constexpr (Model::kSets == 1) bar_sync(1);
  }
  stamp(c.a, c.epoch, warp, lane, 4);
}

// The producer -----------------------------------------------------------------------------------

template <class P>
TM_DEVICE void put_strip(Producer& p, Smem& s, const unsigned char* from) {
  for (int left = P::k; left > 0; left -= kTileColumns) {
    const uint32_t bytes =
        (left < kTileColumns ? left : kTileColumns) / kPairColumns * Form<kBf16>::kPair;
    p.put<P, true>(s, from, bytes);
    from += bytes;
  }
}

template <class P, class R>
TM_DEVICE void experts_up(Guarded& p, int layer) {
  if (p.over) return;
  stamp(p.a, ++p.epoch, kWarps, 0, 0);
  Smem& s = fresh_shared(p.shared);
  mb_wait(p.a, &s.routed.ready, p.routes++ & 1, kRoute, P::index);
  stamp(p.a, p.epoch, kWarps, 0, 1);
  const int2 mine = units_of<P>(s);
#pragma unroll 1
  for (int i = mine.x; i < mine.y; i++)
    put_strip<P>(p, s, strip_of<P>(p.a, layer, s.routed.list[i / P::strips], i % P::strips));
  stamp(p.a, p.epoch, kWarps, 0, 4);
}

template <class P>
TM_DEVICE void experts_down(Guarded& p, int layer) {
  if (p.over) return;
  stamp(p.a, ++p.epoch, kWarps, 0, 0);
  Smem& s = fresh_shared(p.shared);
  const uint4 r = s.ranges[P::index][0];
  // All is read before the last tile is sent for: behind it the next choice may be written.
  const int used = r.y ? s.routed.used : 0;
#pragma unroll 1
  for (uint32_t strip = r.x; strip < r.x + r.y; strip++)
#pragma unroll 1
    for (int n = 0; n < used; n++)
      put_strip<P>(p, s, strip_of<P>(p.a, layer, s.routed.list[n], static_cast<int>(strip)));
  stamp(p.a, p.epoch, kWarps, 0, 4);
}

// A launch ends before the first attention of a step, so nothing of experts is on its way then.
template <class P, class R>
TM_DEVICE void experts_up(Drain&, int) {}
template <class P>
TM_DEVICE void experts_down(Drain&, int) {}
// Rows of a model with experts do not come in chunks.
template <class P, class R>
TM_DEVICE void experts_up(Feeder&, int) {}
template <class P>
TM_DEVICE void experts_down(Feeder&, int) {}

}  // namespace treadle::mega
