// The consumers: eight warps that go through the phases with the producer, a barrier only where a
// warp needs what another one made.
#pragma once

namespace treadle::mega {

struct Consumer {
  const Args& a;
  Smem& shared;
  Place at;
  uint32_t
      epoch;    // of the phase: what it publishes carries it, what it reads carries the one before
  int set = 0;  // which half of the sums over warps
  Turn<kFeeds> fed;  // chunk of rows

  TM_DEVICE Consumer(const Args& args, Smem& smem) : a(args), shared(smem), epoch(args.epoch) {}

  /// What to publish with; a muted worker's packets never become valid (a test's fault).
  TM_DEVICE uint32_t told() const {
    return a.mute_epoch == epoch && static_cast<uint32_t>(worker()) == a.mute_worker
               ? epoch ^ 0x80000000u
               : epoch;
  }

  template <class P>
  TM_DEVICE void linear(int number) {
    epoch++;
    Smem& s = fresh_shared(shared);
    const int me = fresh(thread()), warp = me / 32, lane = me % 32;
    const int layer = fresh(number);
    stamp(a, epoch, warp, lane, 0);
    if constexpr (P::logits) fence_copies();  // new positions in all pages: before the step ends
    if constexpr (P::fed) {
#pragma unroll 1
      for (int part = 0; part < 2; part++)
        linear_rows<P>(a, s, at, fed, warp, lane, s.ranges[P::index][part], layer, epoch, told());
    } else {
      linear_polled<P>(s, warp, lane, layer);
    }
    stamp(a, epoch, warp, lane, 4);
  }

  /// The input polled by the warps that multiply it.
  template <class P>
  TM_DEVICE void linear_polled(Smem& s, int warp, int lane, int layer) {
    const int me = warp * 32 + lane;
    int base = 0, end = P::klen;  // tiles of k that this worker multiplies
    // What can be known before the input is there is made before: behind it all others wait.
    const uint4 range = s.ranges[P::index][0];
    const uint32_t others = P::cut ? 0 : s.ranges[P::index][1].y;
    if constexpr (P::cut) {
      base = static_cast<int>(range.z & 0xffff), end = base + static_cast<int>(range.z >> 16);
    }
    const Lane mine(warp, lane);
    int place = fresh(place_of<P>(static_cast<int>(range.x), lane, static_cast<int>(range.w)));
    if constexpr (P::sum)
      load_sum<P>(a, s, warp, lane, layer, epoch - 1);
    else if (range.y)  // else nobody would wait until it has been read
      load_plain<P>(a, s, warp, lane, epoch - 1, base, end);
    stamp(a, epoch, warp, lane, 2);
    if (me == 0) *const_cast<volatile uint32_t*>(&s.now) = epoch;
#pragma unroll 1
    for (int part = 0; part < (P::cut ? 1 : 2); part++) {
      if (part && !others) break;
      const uint4 r = part ? s.ranges[P::index][1] : range;
      const int k0 = static_cast<int>(r.z & 0xffff), tiles = static_cast<int>(r.z >> 16);
      const int strips = static_cast<int>(r.y);
      // The sums of a chunk and those of the next one stand in different memory. Where there is one
      // chunk only, the packets of this phase come between it and the second next.
      const bool alone = Model::kRows == 1 && strips <= Model::kChunk && !P::logits && others == 0;
#pragma unroll 1
      for (int first = 0; first < strips; first += Model::kChunk) {
        const int n = strips - first < Model::kChunk ? strips - first : Model::kChunk;
        if (part || first)
          place = place_of<P>(static_cast<int>(r.x) + first, lane, static_cast<int>(r.w));
        set = (set + 1) % Model::kSets;
#pragma unroll 1
        for (int i = 0; i < n; i++) {
          if constexpr (P::form == kBf16)
            multiply<P>(a, s, at, mine, warp, lane, k0, tiles, base, s.partial[set][i][warp]);
          else
            multiply_codes<P>(a, s, at, warp, lane, r.z, base, s.partial[set][i][warp]);
        }
        stamp(a, epoch, warp, lane, 3);
        const int owner = Model::kRows == 1 ? (first / Model::kChunk + P::index) % kWarps : warp;
        if (!alone || warp == owner)
          bar_sync(alone ? 2 + set : 1);
        else
          bar_arrive(2 + set);
        if (warp != owner) continue;  // never where rows are several
#pragma unroll 1
        for (int row = Model::kRows == 1 ? 0 : warp; row < Model::kRows; row += kWarps)
          finish<P>(a, s, set, warp, lane, row, static_cast<int>(r.x) + first, n,
                    static_cast<int>(r.w), place, layer, told());
        if constexpr (Model::kSets == 1) bar_sync(1);
      }
    }
  }

  /// This worker's rows of a norm whose output all others read.
  template <class P>
  TM_DEVICE void prepare_rows(int number) {
    epoch++;
    Smem& s = fresh_shared(shared);
    const int me = fresh(thread()), warp = me / 32, lane = me % 32;
    const int layer = fresh(number);
    stamp(a, epoch, warp, lane, 0);
    const uint4 r = s.ranges[P::index][0];
    const int part = static_cast<int>(r.z), parts = static_cast<int>(r.w);
    if constexpr (kFed) {
      constexpr int kUnits = Model::kRows * P::slices;
      send_slices<P>(a, s, warp, lane, layer, epoch - 1, kUnits * part / parts,
                     kUnits * (part + 1) / parts, told() == epoch);
    } else {
      send_sum<P>(a, s, warp, lane, layer, epoch - 1, Model::kRows * part / parts,
                  Model::kRows * (part + 1) / parts, told());
    }
    stamp(a, epoch, warp, lane, 4);
  }

  template <class P>
  TM_DEVICE void attend(int number) {
    epoch++;
    Smem& s = fresh_shared(shared);
    const int me = fresh(thread()), warp = me / 32, lane = me % 32;
    const int layer = fresh(number), kind = kind_of<P>(layer), count = s.count[kind];
    stamp(a, epoch, warp, lane, 0);
    if (me == 0) *const_cast<volatile uint32_t*>(&s.now) = epoch;
    for (int i = 0; i < count; i++) {
      const Item* items = s.items[kind];
      const Item item = items[i];
      const bool same = i && item.row == items[i - 1].row && item.head == items[i - 1].head;
      attend_item<P>(a, s, at, item, same, warp, lane, layer, epoch - 1, told());
    }
    // What follows writes over the scratch memory; and once a layer all warps meet, so that none
    // comes back to sums over warps that another one still reads.
    bar_sync(1);
    if (kFed && (Model::kStrict || me == 0)) mb_arrive(&s.calm);
    stamp(a, epoch, warp, lane, 4);
  }

  template <class P>
  TM_DEVICE void fold(int number) {
    epoch++;
    Smem& s = fresh_shared(shared);
    const int me = fresh(thread()), warp = me / 32, lane = me % 32;
    stamp(a, epoch, warp, lane, 0);
    const uint4 r = s.ranges[P::index][0];
    const int heads = static_cast<int>(r.y) * kGroup;
    const int from = static_cast<int>(r.z), to = static_cast<int>(r.w);  // of rows x heads
#pragma unroll 1
    for (int i = from * kHeadPairs + warp; i < to * kHeadPairs; i += kWarps) {
      const int n = i / kHeadPairs;
      fold_pair<P>(a, s, Model::kRows == 1 ? 0 : n / heads,
                   static_cast<int>(r.x) * kGroup + (Model::kRows == 1 ? n : n % heads),
                   i % kHeadPairs, kind_of<P>(number), warp, lane, epoch - 1, told());
    }
    if constexpr (P::tell >= 0) {
      bar_sync(1);
      if (me == 0) {
        Teller<P> teller(a, told() == epoch);
        for (int n = from; n < to; n++)
          teller.tell((static_cast<int>(r.x) * kGroup + n % heads) * Model::kHead, Model::kHead);
        teller.flush();
      }
    }
    stamp(a, epoch, warp, lane, 4);
  }

  template <class P>
  TM_DEVICE void draw(int) {
    epoch++;
    Smem& s = fresh_shared(shared);
    const int me = fresh(thread()), warp = me / 32, lane = me % 32;
    stamp(a, epoch, warp, lane, 0);
    draw_token<P>(a, s, warp, lane, epoch, told());
    stamp(a, epoch, warp, lane, 2);
    if (me == 0) *const_cast<volatile uint32_t*>(&s.now) = epoch;
    prepare<Attend>(a, s, me);
    stamp(a, epoch, warp, lane, 4);
  }
};

}  // namespace treadle::mega
