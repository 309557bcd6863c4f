// A draw by rule: mask, temperature, top_k, top_p, min_p, Gumbel noise, in that order, as
// treadle.backends.sampler defines it. Every worker keeps the logits that it has made; what they
// must know of each other goes round as packets, the same for all, so all take the same token.
//
// Two hops where nothing is cut: the greatest legal logit, then the greatest with its noise. top_k
// and top_p look for the logit they end at, four bits of it a hop: eight more each.
#pragma once

namespace treadle::mega {

constexpr int kBins = 16;  // three sums a packet
enum Ballot { kFinal = 0, kTies = 1, kCounts = 2, kMasses = 2 + kRounds * kBinPackets };
static_assert(8 * kBins + 2 * 4 * 9 <= kKept && kKept <= Model::kScratch);

/// Floats in their order as integers; 0 is below all of them.
TM_DEVICE uint32_t ordered(float x) {
  const uint32_t u = bits_of(x);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
TM_DEVICE float disordered(uint32_t key) {
  return float_of(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/// One row's draw as one thread of one worker sees it.
template <class P>
struct Lot {
  const Args& a;
  Smem& s;
  int warp, lane, row;
  uint32_t epoch, told;
  float peak = 0, heat = 1;  // z = (logit - peak) / heat
  uint32_t low = 1;          // tokens below it are cut, as `ordered`
  uint32_t equal = 0;        // of the tokens here, those up to `tied` are left
  int32_t tied = 0;

  TM_DEVICE Lot(const Args& args, Smem& smem, int w, int l, int r, uint32_t e, uint32_t t)
      : a(args), s(smem), warp(w), lane(l), row(r), epoch(e), told(t) {}
  TM_DEVICE int tid() const { return warp * 32 + lane; }
  TM_DEVICE int place(int ballot) const {
    return static_cast<int>(a.ballots) + (row * kBallots + ballot) * Model::kWorkers;
  }
  /// Calls f(token, four logits' bits, which of them are legal) for this thread's tokens.
  template <class F>
  TM_DEVICE void each(F f) const {
    const uint4 r0 = s.ranges[P::index - 1][0], r1 = s.ranges[P::index - 1][1];
    const int quads = static_cast<int>(r0.y + r1.y) * 4;
    const float* logits = fresh(a.logits) + static_cast<int64_t>(row) * a.vocab;
    const bool masked = s.rules[row].masked != 0;
    const Words words(a, s.ranges[P::index - 1]);
    const uint32_t* kept = reinterpret_cast<const uint32_t*>(scratch_of(s) + kKept);
#pragma unroll 1
    for (int q = tid(); q < quads; q += 256) {
      const int strip = q / 4, first = static_cast<int>(r0.y);
      const int at = static_cast<int>(strip < first ? r0.x : r1.x - r0.y) + strip;
      const int token = at * 16 + q % 4 * 4;
      const uint4 x = *reinterpret_cast<const uint4*>(logits + token);
      uint32_t legal = 15;
      if (masked) {
        const int whole = at + strips_before(a);
        const int word = whole / 2 - (strip < first ? words.from : words.skip);
        const uint32_t bits = words.fit() ? kept[row * words.all + word]
                                          : load_foreign(mask_of(a, box_step(), row) + whole / 2);
        legal = bits >> ((token + strips_before(a) * 16) % 32) & 15;
      }
      f(token, x, legal);
    }
  }
  TM_DEVICE uint32_t box_step() const { return a.same_rules ? 0 : s.step; }
  TM_DEVICE float z_of(uint32_t bits) const { return (float_of(bits) - peak) / heat; }
  TM_DEVICE bool kept(uint32_t key, int token) const {
    return key >= low && (key != equal || token <= tied);
  }

  /// Sums of 16 bins over all tokens of all workers, in one order; the same in every thread.
  TM_DEVICE void sum_bins(float (&bins)[kBins], int ballot) const {
    const int at = place(ballot);
    constexpr int kWorkers = Model::kWorkers, kTurns = (kWorkers + 127) / 128;
    float* mine = scratch_of(s);
    float* all = scratch_of(s) + 8 * kBins;  // [2][4][9]
#pragma unroll
    for (int j = 0; j < kBins; j++) {
#pragma unroll
      for (int m = 16; m; m >>= 1) bins[j] += shfl_xor(bins[j], m);
      if (lane == 0) mine[warp * kBins + j] = bins[j];
    }
    bar_sync(1);
    if (tid() < kBinPackets) {
      uint32_t x[3] = {0, 0, 0};
#pragma unroll
      for (int e = 0; e < 3; e++) {
        float sum = 0;
        if (tid() * 3 + e < kBins)
          for (int w = 0; w < kWarps; w++) sum += mine[w * kBins + tid() * 3 + e];
        x[e] = bits_of(sum);
      }
      store_packet(fresh(a.packets) + at + tid() * kWorkers + fresh(worker()),
                   make_uint4(x[0], x[1], x[2], told));
    }
    const int half = warp / 4, group = warp % 4;
    float sum[9] = {};
#pragma unroll 1
    for (int turn = 0; turn < kTurns; turn++) {
      const int from = turn * 128 + group * 32 + lane;
      uint4 v[3] = {make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0), make_uint4(0, 0, 0, 0)};
      poll(
          a, [&](int i) { return at + (half * 3 + i) * kWorkers + from; },
          from < kWorkers ? 7u : 0u, epoch, P::index, v);
#pragma unroll
      for (int i = 0; i < 3; i++) {
        sum[3 * i] += float_of(v[i].x);
        sum[3 * i + 1] += float_of(v[i].y);
        sum[3 * i + 2] += float_of(v[i].z);
      }
    }
#pragma unroll
    for (int j = 0; j < 9; j++) {
#pragma unroll
      for (int m = 16; m; m >>= 1) sum[j] += shfl_xor(sum[j], m);
      if (lane == 0) all[warp * 9 + j] = sum[j];
    }
    bar_sync(1);
#pragma unroll
    for (int j = 0; j < kBins; j++) {
      const float* from = all + j / 9 * 36 + j % 9;
      bins[j] = from[0] + from[9] + from[18] + from[27];
    }
    const auto mine_of = [&](int j) {
      const float* from = all + j / 9 * 36 + j % 9;
      return bits_of(from[0] + from[9] + from[18] + from[27]);
    };
    const auto packet = [&](int i) {
      const bool last = i == kBinPackets - 1;
      return make_uint4(mine_of(3 * i), last ? 0 : mine_of(3 * i + 1),
                        last ? 0 : mine_of(3 * i + 2), 0);
    };
    sum_ranks<P>(a, s, warp, lane, row, ballot, epoch, told, packet, bins);
  }

  /// The greatest key at which tokens of this key and above weigh `want` or more, and what those
  /// above it (`above`) and at it (`here`) weigh; the lowest if all together weigh less. Of masses
  /// `want` comes as a share of the whole and leaves as a weight.
  template <bool kMass>
  TM_DEVICE uint32_t cut(double& want, double& above, double& here) const {
    uint32_t prefix = 0;
    above = 0;
#pragma unroll 1
    for (int round = 0; round < kRounds; round++) {
      const int shift = 28 - 4 * round;
      float bins[kBins] = {};
      each([&](int token, uint4 x, uint32_t legal) {
        const uint32_t bits[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const float z = z_of(bits[e]);
          const uint32_t key = ordered(z);
          bool in = (legal >> e & 1) && kept(key, token + e);
          if (round > 0) in = in && key >> (shift + 4) == prefix >> (shift + 4);
          const float weight = kMass ? exact_exp(z) : 1.0f;
#pragma unroll
          for (int j = 0; j < kBins; j++)
            bins[j] += in && (key >> shift & 15) == static_cast<uint32_t>(j) ? weight : 0.f;
        }
      });
      sum_bins(bins, (kMass ? kMasses : kCounts) + round * kBinPackets);
      if (kMass && round == 0) {
        double whole = 0;
#pragma unroll
        for (int j = kBins; j-- > 0;) whole += static_cast<double>(bins[j]);
        want *= whole;
      }
      uint32_t digit = 0;
      double over = above, found = above;
      bool done = false;
      here = 0;
#pragma unroll
      for (int j = kBins; j-- > 0;) {
        if (done || bins[j] == 0) continue;
        digit = static_cast<uint32_t>(j), here = static_cast<double>(bins[j]), found = over;
        over += here;
        done = over >= want;
      }
      prefix |= digit << shift;
      above = found;
    }
    return prefix;
  }

  /// Cuts to the shortest list of greatest tokens that weighs `top_p` of what top_k has left; lower
  /// tokens first among the equals it ends with.
  TM_DEVICE void nucleus(float top_p) {
    double want = static_cast<double>(top_p), above, here;
    const uint32_t last = cut<true>(want, above, here);
    const double each_one = static_cast<double>(exact_exp(disordered(last)));
    if (want > above + here - 0.5 * each_one) {  // all the equals
      low = last;
      return;
    }
    float bins[kBins] = {};
    each([&](int token, uint4 x, uint32_t legal) {
      const uint32_t bits[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int e = 0; e < 4; e++)
        if ((legal >> e & 1) && ordered(z_of(bits[e])) == last && kept(last, token + e))
          bins[0] += 1;
    });
    const int wanted = nearly(want, above, each_one);
    low = last;
    share_out(bins[0], wanted, last);
  }

  /// top_k, then top_p.
  TM_DEVICE void restrict_to(const Rule& rule) {
    if (rule.top_k > 0 && rule.top_k < a.vocab * Model::kRanks) {
      double want = rule.top_k, above, here;
      low = cut<false>(want, above, here);
    }
    if (rule.top_p < 1.0f) nucleus(rule.top_p);
  }

  /// This thread's greatest key with noise among what is left, less what min_p cuts.
  TM_DEVICE uint64_t noisy(const Rule& rule) const {
    uint64_t key = 0;
    const uint32_t step = rule.step + (a.same_rules ? s.step : 0);
    each([&](int at, uint4 x, uint32_t legal) {
      const uint32_t bits[4] = {x.x, x.y, x.z, x.w};
      uint32_t in = 0;
      float z[4];
#pragma unroll
      for (int e = 0; e < 4; e++) {
        z[e] = z_of(bits[e]);
        if ((legal >> e & 1) && kept(ordered(z[e]), at + e) && z[e] >= rule.least) in |= 1u << e;
      }
      if (in == 0) return;
      const uint4 words =
          philox(rule.key0, rule.key1, step, static_cast<uint32_t>(at / 4 + strips_before(a) * 4));
      const uint32_t w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (in >> e & 1)
          key = better(key, key_of(z[e] + gumbel(w[e]), static_cast<uint32_t>(at + e)));
    });
    return key;
  }

  /// How many equals of such a weight the list takes: the fewest that reach `want`, at least one.
  TM_DEVICE static int nearly(double want, double above, double weight) {
    const double n = (want - above) / weight;
    const int whole = static_cast<int>(n);
    return whole < n || whole < 1 ? whole + 1 : whole;
  }

  /// Leaves the first `wanted` of equals over all workers.
  TM_DEVICE void share_out(float count, int wanted, uint32_t last) {
    constexpr int kWorkers = Model::kWorkers;
    const int at = place(kTies), strip = static_cast<int>(s.ranges[P::index - 1][0].x);
    float* mine = scratch_of(s);
#pragma unroll
    for (int m = 16; m; m >>= 1) count += shfl_xor(count, m);
    bar_sync(1);
    if (lane == 0) mine[warp] = count;
    bar_sync(1);
    if (tid() == 0) {
      for (int w = 1; w < kWarps; w++) count += mine[w];
      store_packet(fresh(a.packets) + at + fresh(worker()),
                   make_uint4(bits_of(count), static_cast<uint32_t>(strip), 0, told));
    }
    uint4 v[1] = {make_uint4(0, 0, 0, 0)};
    poll(a, [&](int) { return at + tid(); }, tid() < kWorkers ? 1u : 0u, epoch, P::index, v);
    float lower = 0;
    if constexpr (Model::kRanks > 1)
      lower = ranks_before<P>(a, s, warp, lane, row, kTies, epoch, told, float_of(v[0].x));
    float before = tid() < kWorkers && static_cast<int>(v[0].y) < strip ? float_of(v[0].x) : 0.f;
#pragma unroll
    for (int m = 16; m; m >>= 1) before += shfl_xor(before, m);
    bar_sync(1);
    if (lane == 0) mine[warp] = before;
    bar_sync(1);
    if (tid() == 0) {
      before = 0;
      for (int w = 0; w < kWarps; w++) before += mine[w];
      if constexpr (Model::kRanks > 1) before += lower;
      s.tied = last_of(wanted - static_cast<int>(before), last);
    }
    bar_sync(1);
    tied = s.tied, equal = last;
  }

  /// The n-th of this worker's equals, by one thread: equals at the very end of a nucleus are rare.
  TM_DEVICE int last_of(int n, uint32_t last) const {
    int found = -1;
    const float* logits = fresh(a.logits) + static_cast<int64_t>(row) * a.vocab;
#pragma unroll 1
    for (int part = 0; part < 2; part++) {
      const uint4 r = s.ranges[P::index - 1][part];
#pragma unroll 1
      for (int token = r.x * 16; token < static_cast<int>((r.x + r.y) * 16) && n > 0; token++) {
        const int bit = token + strips_before(a) * 16;
        const bool legal = !s.rules[row].masked ||
                           (load_foreign(mask_of(a, box_step(), row) + bit / 32) >> (bit % 32) & 1);
        if (!legal || ordered(z_of(bits_of(logits[token]))) != last) continue;
        found = token;
        n--;
      }
    }
    return found;
  }
};

/// Every thread's part in the greatest of a row's keys; `hop` brings them together.
TM_DEVICE void propose(Smem& s, int warp, int lane, int row, uint64_t key) {
#pragma unroll
  for (int m = 16; m; m >>= 1) key = better(key, shfl_xor(key, m));
  if (lane == 0) s.best[0][warp][row] = key;
}

/// Draws all rows by their rules; a row's token is then in `chosen`, 0 for no legal token, kBroken
/// for logits that are not finite.
template <class P>
TM_DEVICE void draw_ruled(const Args& a, Smem& s, int warp, int lane, uint32_t epoch,
                          uint32_t told) {
  take_rules<P>(a, s, warp * 32 + lane, epoch, told);
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    uint64_t key = 0;
    Lot<P>(a, s, warp, lane, row, epoch, told).each([&](int at, uint4 x, uint32_t legal) {
      const uint32_t bits[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int e = 0; e < 4; e++) {
        if ((bits[e] & 0x7f800000u) == 0x7f800000u) key = kBroken;
        if (legal >> e & 1)
          key = better(key, key_of(float_of(bits[e]), static_cast<uint32_t>(at + e)));
      }
    });
    propose(s, warp, lane, row, key);
  }
  hop<P>(a, s, warp, lane, epoch, told, P::out, Model::kWorkers);
  agree<P>(a, s, warp, lane, epoch, told, kGreatest);
  const int tid = warp * 32 + lane;
  if (tid < Model::kRows) s.first[tid] = chosen(s, tid);
  bool hot = false;
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) hot = hot || s.rules[row].temperature != 0;
  if (!hot) return;
  bar_sync(1);
#pragma unroll 1
  for (int row = 0; row < Model::kRows; row++) {
    const uint64_t first = s.first[row];
    if (s.rules[row].temperature == 0 || first == 0 || first == kBroken) {
      propose(s, warp, lane, row, 0);
      continue;
    }
    Lot<P> lot(a, s, warp, lane, row, epoch, told);
    lot.peak = disordered(static_cast<uint32_t>(first >> 32));
    lot.heat = s.rules[row].temperature;
    lot.restrict_to(s.rules[row]);
    propose(s, warp, lane, row, lot.noisy(s.rules[row]));
  }
  hop<P>(a, s, warp, lane, epoch, told, static_cast<int>(a.ballots) + kFinal * Model::kWorkers,
         kBallots * Model::kWorkers);
  agree<P>(a, s, warp, lane, epoch, told, kFinal);
  if (tid < Model::kRows) {
    const uint64_t key = chosen(s, tid);
    if (key != 0) s.first[tid] = key;
  }
}

}  // namespace treadle::mega
