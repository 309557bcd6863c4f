// The producer: one warp that streams a worker's weights and KV pages through a ring of tiles, over
// phases, layers and steps. It waits for no event but the step's, before it reads KV.
#pragma once

namespace treadle::mega {

using Place = Turn<Model::kRing>;

struct Producer {
  const Args& a;
  Smem& shared;
  Place at;
  int issued = 0;
  const unsigned char* source;
  uint64_t policy = evict_first();
  uint32_t step = 0;
  bool ready = false;  // the step's KV may be read
  uint32_t epoch;
  uint32_t routes = 0;  // choices of experts so far

  TM_DEVICE Producer(const Args& args, Smem& smem) : a(args), shared(smem), epoch(args.epoch) {
    source = first();
  }
  TM_DEVICE const unsigned char* first() const { return a.stream + a.starts[worker()]; }
  TM_DEVICE const unsigned char* end() const { return a.stream + a.starts[worker() + 1]; }

  /// Waits for a free slot and for the window, then fills the slot.
  template <class P, bool kOnce>
  TM_DEVICE void put(Smem& s, const void* from, uint32_t bytes) {
    mb_wait(a, &s.empty[at.slot], at.turn ^ 1, kEmpty, P::index);
    // Few tiles may be on their way where their phase has not begun: packets queue behind them, and
    // so do tiles of workers that are late.
    const bool begun = *const_cast<volatile uint32_t*>(&s.now) == epoch;
    const int window = begun ? Model::kWindow : P::behind;
    if (window && issued >= window) {
      int before = at.slot - window;
      uint32_t turn = at.turn;
      if (before < 0) {
        before += Model::kRing;
        turn ^= 1;
      }
      mb_wait(a, &s.full[before], turn, kWindow, P::index);
    }
    mb_expect(&s.full[at.slot], bytes);
    if constexpr (kOnce && Model::kEvictFirst)
      bulk(s.ring[at.slot], from, bytes, &s.full[at.slot], policy);
    else
      bulk(s.ring[at.slot], from, bytes, &s.full[at.slot]);
    issued += issued < Model::kRing;
    at.next();
  }

  TM_DEVICE void begin() {
    source = first();
    ready = false;
  }

  template <class P>
  TM_DEVICE void prefetch_norms(int layer) {
    prefetch_kept(a.pool + P::norm + layer * P::norm_step, P::k * 4);
    if constexpr (P::post >= 0) prefetch_kept(a.pool + P::post + layer * P::post_step, P::k * 4);
  }
  template <class P>
  TM_DEVICE void linear(int layer) {
    stamp(a, ++epoch, kWarps, 0, 0);
    Smem& s = fresh_shared(shared);
    if constexpr (P::sum) {  // one worker sees to it that all find the norm in the cache
      if (worker() == (layer * 4 + P::index) % Model::kWorkers) prefetch_norms<P>(layer);
    }
    for (int part = 0; part < 2; part++) {
      const uint4 r = s.ranges[P::index][part];
      using F = Form<P::form>;
      const int first = first_column<P>(r.z), end = end_column<P>(r.z);
      // Strip after strip, or the strips of a band tile by tile.
      const int strips = static_cast<int>(r.y), bands = P::fed ? bands_of(strips) : strips;
      for (int band = 0; band < bands; band++) {
        const int n = strips * (band + 1) / bands - strips * band / bands;
        for (int column = first; column < end; column += F::kSpan) {
          const int left = end - column;
          const uint32_t bytes = (left < F::kSpan ? left : F::kSpan) / kPairColumns * F::kPair;
#pragma unroll 1
          for (int strip = 0; strip < n; strip++) {
            put<P, true>(s, source, bytes);
            source += bytes;
          }
          if (band == 0 && column == first) stamp(a, epoch, kWarps, 0, 1);
        }
      }
    }
    stamp(a, epoch, kWarps, 0, 4);
  }

  template <class P>
  TM_DEVICE void attend(int layer) {
    stamp(a, ++epoch, kWarps, 0, 0);
    Smem& s = fresh_shared(shared);
    if constexpr (P::q_norm >= 0) {
      if (worker() == (layer * 4 + P::index) % Model::kWorkers) {
        prefetch_kept(a.pool + P::q_norm + layer * P::head_step, Model::kHead * 4);
        prefetch_kept(a.pool + P::k_norm + layer * P::head_step, Model::kHead * 4);
      }
    }
    if (!ready) {  // positions and pages of this step, and what the step before appended
      mb_wait(a, &s.go, step & 1, kStep, P::index);
      fence_copies();
      ready = true;
    }
    constexpr uint32_t half = kPage * Model::kHead * 2;
    const unsigned char* base =
        reinterpret_cast<const unsigned char*>(a.kv) + (P::state + layer) * a.state_bytes;
    const int kind = kind_of<P>(layer);
    for (int i = 0; i < s.count[kind]; i++) {
      const Item item = s.items[kind][i];
      const int position = s.position[item.row], seen = seen_from(kind, position) / kPage;
      const int begin = item.segment * segment_pages(kind, position);
      const int last = last_page(kind, item.segment, position);
      for (int page = kWindows && seen > begin ? seen : begin; page <= last; page++) {
        const int64_t id = a.pages[item.row * a.row_pages + page];
        const unsigned char* from = base + (id * Model::kKvHeads + item.head) * 2 * half;
        if constexpr (2 * half <= kTile) {
          put<P, false>(s, from, 2 * half);
        } else {  // keys, then values, in as many tiles as they need
          constexpr uint32_t bytes = half / kHalfTiles;
#pragma unroll(kHalfTiles == 1 ? 2 : 1)
          for (uint32_t at = 0; at < 2 * half; at += bytes) put<P, false>(s, from + at, bytes);
        }
      }
    }
    stamp(a, epoch, kWarps, 0, 4);
  }

  template <class P>
  TM_DEVICE void prepare_rows(int layer) {
    epoch++;
    if (worker() == (layer * 4 + P::index) % Model::kWorkers) prefetch_norms<P>(layer);
  }
  template <class P>
  TM_DEVICE void fold(int) {
    epoch++;
  }
  template <class P>
  TM_DEVICE void draw(int) {
    epoch++;
  }
};

}  // namespace treadle::mega
