// How the rows of many sequences come to a worker: not as packets, of which each worker would poll
// as many bytes as it streams weights, but as chunks of 512 columns that a tenth warp copies from
// the second-level cache when a counter says that all of their elements are there. Shared memory
// holds two chunks instead of whole rows, so that the ring has room for what a boundary costs.
#pragma once

namespace treadle::mega {

/// Where an element stands in a buffer of chunks, in 16-bit words: as fragments B of the product,
/// [pair of 16 columns][block of 8 rows][lane][8 columns].
TM_DEVICE int chunk_place(int row, int column) {
  const int lane = row % 8 * 4 + column % kPairColumns / 8;
  return ((column / kPairColumns * kBlocks + row / 8) * 32 + lane) * 8 + column % 8;
}

template <class P>
TM_DEVICE uint16_t* chunks(const Args& a) {
  return reinterpret_cast<uint16_t*>(fresh(a.packets) + P::out);
}

/// Counts of elements, 32 bytes apart; the host clears them before a launch.
TM_DEVICE uint32_t* counter_of(const Args& a, int index) {
  return reinterpret_cast<uint32_t*>(fresh(a.packets) + Model::kCounters + 2 * index);
}

/// Says that elements are written, columns in order: by one thread for its worker, whose warps have
/// met since. One fence for all of them: each takes about half a microsecond of the whole SM.
template <class P>
struct Teller {
  const Args& a;
  bool on;  // not for a muted worker
  int chunk = -1;
  uint32_t count = 0;

  TM_DEVICE Teller(const Args& args, bool loud) : a(args), on(loud) { fence_grid(); }
  TM_DEVICE void tell(int column, int elements) {
    if (column / kTileColumns != chunk) flush();
    chunk = column / kTileColumns;
    count += elements;
  }
  TM_DEVICE void flush() {
    if (count && on) add_counted(counter_of(a, P::tell + chunk), count);
    count = 0;
  }
};

struct Feeder {
  const Args& a;
  Smem& s;
  Turn<kFeeds> at;
  uint32_t step = 0, calm = 0;
  bool over = false;

  TM_DEVICE Feeder(const Args& args, Smem& smem) : a(args), s(smem) {}

  /// Learns whether there is that step at all.
  TM_DEVICE void begin() {
    mb_wait(a, &s.go, step & 1, kStep, 0);
    over = *const_cast<volatile uint32_t*>(&s.over) != 0;
  }

  template <class P>
  TM_DEVICE void await(int tile, int layer) {
    const int left = P::k - tile * kTileColumns;
    const uint32_t times = step * P::writes + P::writes_before + layer * P::writes_a_layer;
    const uint32_t need = times * Model::kRows * (left < kTileColumns ? left : kTileColumns);
    const uint32_t* counter = counter_of(a, P::ready + tile);
    uint32_t seen = load_count(counter);
    Spin spin;
    while (seen < need) {
      if (spin.late(kPatience)) fail(a, kReady, P::index, P::ready + tile, seen, need);
      seen = load_count(counter);
    }
  }

  /// Factors of the norm, from the sums of squares that stand beside the chunks.
  template <class P>
  TM_DEVICE void roots(int lane) {
    if (lane >= Model::kRows) return;
    constexpr int kPackets = (P::slices + 3) / 4;
    float total = 0;
#pragma unroll
    for (int i = 0; i < kPackets; i++) {  // what nobody writes is zero
      const uint4 v = load_packet(fresh(a.packets) + P::squares + lane * kPackets + i);
      total += float_of(v.x) + float_of(v.y) + float_of(v.z) + float_of(v.w);
    }
    s.roots[lane] = inverse_root(total / P::k + P::eps);
  }

  template <class P>
  TM_DEVICE void linear(int layer) {
    if constexpr (P::fed) {
      if (over) return;
      const int lane = thread() % 32;
#pragma unroll 1
      for (int part = 0; part < 2; part++) {
        const uint4 r = s.ranges[P::index][part];
        const int first = static_cast<int>(r.z & 0xffff), end = first + static_cast<int>(r.z >> 16);
        const int bands = bands_of(static_cast<int>(r.y));
        const bool same = r.z == s.ranges[P::index][0].z;  // chunks that are known to be there
#pragma unroll 1
        for (int band = 0; band < bands; band++) {
#pragma unroll 1
          for (int tile = first; tile < end; tile++) {
            if (band == 0 && (part == 0 || !same)) await<P>(tile, layer);
            mb_wait(a, &s.feed_empty[at.slot], at.turn ^ 1, kEmpty, P::index);
            unsigned char* to = s.feed[at.slot] + lane * 16;
            const unsigned char* from = reinterpret_cast<const unsigned char*>(a.packets + P::in) +
                                        tile * kChunkBytes + lane * 16;
#pragma unroll 8
            for (int i = 0; i < kChunkBytes; i += 512) copy_some(to + i, from + i);
            copies_arrive(&s.feed_full[at.slot]);
            if constexpr (P::squares >= 0) {
              if (tile == end - 1 && band == 0) roots<P>(lane);
            }
            warp_sync();
            if (Model::kStrict || lane == 0) mb_arrive(&s.feed_full[at.slot]);
            at.next();
          }
        }
      }
    }
  }
  template <class P>
  TM_DEVICE void attend(int) {
    if (over) return;
    mb_wait(a, &s.calm, calm, kReady, P::index);
    calm ^= 1;
  }
  template <class P>
  TM_DEVICE void prepare_rows(int) {}
  template <class P>
  TM_DEVICE void fold(int) {}
  template <class P>
  TM_DEVICE void draw(int) {}
};

/// Slices of rows of the residual stream: what was there and all terms, by one worker, which sends
/// them times the norm's weight, and their sum of squares. A thread has a packet's columns of all
/// terms.
template <class P>
TM_DEVICE void send_slices(const Args& a, Smem& s, int warp, int lane, int layer, uint32_t epoch,
                           int from, int to, bool on) {
  constexpr int kColumns = P::k / P::slices, kPackets = kColumns / 16 * 3;
  static_assert(kColumns % 16 == 0 && P::k % P::slices == 0);
#pragma unroll 1
  for (int unit = from; unit < to; unit++) {
    const int row = unit / P::slices, begin = unit % P::slices * kColumns;
    float* kept = reinterpret_cast<float*>(fresh(a.packets) + Model::kFar) + row * Model::kWidth;
    float square = 0, branch = 1;
    if constexpr (P::post >= 0) branch = whole_root<P>(a, s, row, warp, lane, epoch, unit);
#pragma unroll 1
    for (int first = warp * 32; first < kPackets; first += kWarps * 32) {
      const int p = first + lane, j = p % 3;
      const bool in = p < kPackets, more = in && j < 2;
      const int column = begin + p / 3 * 16 + 4 * j, rest = begin + p / 3 * 16 + 12 + 2 * j;
      float x[6] = {}, w[6] = {};
      const float* norm = fresh(a.pool) + P::norm + layer * P::norm_step;
      if (in) {
#pragma unroll
        for (int e = 0; e < 4; e++) w[e] = load_one(norm + column + e);
      }
      if (more) w[4] = load_one(norm + rest), w[5] = load_one(norm + rest + 1);
      if constexpr (P::first) {
        const uint16_t* token = fresh(a.embed) + static_cast<int64_t>(s.token[row]) * P::k;
#pragma unroll
        for (int e = 0; e < 6; e++) {
          if (!(e < 4 ? in : more)) continue;
          const int at = e < 4 ? column + e : rest + e - 4;
          x[e] = low(load_constant(token + at)) * Model::kEmbedScale;
        }
      } else {
        const int base = P::in + (row * P::k + begin) / 16 * 3 + p;
        float y[6] = {};
        if constexpr (P::post >= 0) {  // normed before it joins
          add_terms<P>(a, base, in, epoch, y);
          const float* norm = fresh(a.pool) + P::post + layer * P::post_step;
#pragma unroll
          for (int e = 0; e < 6; e++)
            if (e < 4 ? in : more)
              y[e] *= branch * load_one(norm + (e < 4 ? column + e : rest + e - 4));
        }
        if (in) {
          const Four old = *reinterpret_cast<const Four*>(kept + column);
          x[0] = old.x, x[1] = old.y, x[2] = old.z, x[3] = old.w;
        }
        if (more) {
          const Two old = *reinterpret_cast<const Two*>(kept + rest);
          x[4] = old.x, x[5] = old.y;
        }
        if constexpr (P::post < 0) add_terms<P>(a, base, in, epoch, x);
#pragma unroll
        for (int e = 0; e < 6 && P::post >= 0; e++) x[e] += y[e];
      }
      stamp(a, epoch + 1, warp, lane, 1);
      float y[6];
#pragma unroll
      for (int e = 0; e < 6; e++) y[e] = x[e] * w[e], square += x[e] * x[e];
      if (in) {
        *reinterpret_cast<Four*>(kept + column) = {x[0], x[1], x[2], x[3]};
        *reinterpret_cast<Pairs*>(chunks<P>(a) + chunk_place(row, column)) = {pair_of(y[0], y[1]),
                                                                              pair_of(y[2], y[3])};
      }
      if (more) {
        *reinterpret_cast<Two*>(kept + rest) = {x[4], x[5]};
        *reinterpret_cast<uint32_t*>(chunks<P>(a) + chunk_place(row, rest)) = pair_of(y[4], y[5]);
      }
    }
#pragma unroll
    for (int m = 16; m; m >>= 1) square += shfl_xor(square, m);
    if (lane == 0) s.squares[0][0][warp][0] = square;
    bar_sync(1);
    if (warp == 0 && lane == 0) {
      float total = 0;
      for (int w = 0; w < kWarps; w++) total += s.squares[0][0][w][0];
      float* squares = reinterpret_cast<float*>(fresh(a.packets) + P::out_squares);
      squares[row * ((P::slices + 3) / 4 * 4) + unit % P::slices] = total;
      Teller<P> teller(a, on);
      for (int column = begin; column < begin + kColumns; column += 16) teller.tell(column, 16);
      teller.flush();
    }
    bar_sync(1);  // the sums have been read
  }
}

}  // namespace treadle::mega
