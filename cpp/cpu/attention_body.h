// Attention of a few rows over the positions of a sequence, over any set of lanes. A segment is cut
// into chunks of 128 positions, each a softmax of its own; chunks fold into their segment and
// segments into the row, both in order, so a row's bits depend neither on which rows share its
// reads nor on who computed which segment.
#pragma once

#include "cpu/attention.h"
#include "cpu/float_body.h"

namespace treadle::cpu {
namespace {

template <class L>
static void kv_write(const KvHead& kv, size_t page, size_t offset, const float* k, const float* v) {
  uint16_t* keys = kv.keys(page) + offset;
  uint16_t* values = kv.values(page) + offset * kv.size;
  for (size_t i = 0; i < kv.size; i += 16) {
    uint16_t lanes[16];
    L::store_half(lanes, L::load(k + i));
    for (size_t j = 0; j < 16; ++j) keys[(i + j) * kPage] = lanes[j];
    L::store_half(values + i, L::load(v + i));
  }
}

constexpr float nothing = -__builtin_inff();

// Scores of R rows over the pages of a chunk that hold positions first .. end, from `low` to `high`
// in the chunk; what a row does not see is -inf.
template <class L, int R>
static inline void score(const AttentionItem& item, size_t row, size_t base, size_t low,
                         size_t high, float (&scores)[R][kChunk]) {
  using F = typename L::F;
  const float* q[R];
  for (int r = 0; r < R; ++r) {
    const size_t at = row + static_cast<size_t>(r);
    q[r] = item.q + at / item.group * item.query_stride + at % item.group * item.head_stride;
  }
  const F by = L::set(item.scale);
  for (size_t p = low; p < high; p += kPage) {
    const uint16_t* keys = item.kv.keys(static_cast<size_t>(item.table[(base + p) / kPage]));
    const uint16_t* later = keys + kPage * item.kv.size;  // the page's values
    const size_t next = (base + p) / kPage + (p + kPage < high ? 1 : 0);
    const uint16_t* ahead = item.kv.keys(static_cast<size_t>(item.table[next]));
    F even[R], odd[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) even[r] = odd[r] = L::set(0.0f);
    for (size_t i = 0; i < item.kv.size; i += 2) {
      if constexpr (R <= 4) {  // pages lie anywhere, and few rows do not hide how far
        L::prefetch(reinterpret_cast<const uint8_t*>(later + i * kPage));
        L::prefetch(reinterpret_cast<const uint8_t*>(ahead + i * kPage));
      }
      const F a = L::half(keys + i * kPage), b = L::half(keys + (i + 1) * kPage);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        even[r] = L::fma(a, L::set(q[r][i]), even[r]);
        odd[r] = L::fma(b, L::set(q[r][i + 1]), odd[r]);
      }
    }
    for (int r = 0; r < R; ++r) {
      F s = L::mul(L::add(even[r], odd[r]), by);
      if (item.softcap != 0.0f) {
        s = L::mul(L::set(item.softcap), tangent<L>(L::div(s, L::set(item.softcap))));
      }
      L::store(&scores[r][p], s);
    }
  }
  for (int r = 0; r < R; ++r) {
    const size_t at = row + static_cast<size_t>(r);
    const size_t from = item.first_key(at), to = item.end_key(at);
    for (size_t i = low; base + i < from && i < high; ++i) scores[r][i] = nothing;
    for (size_t i = to > base + low ? to - base : low; i < high; ++i) scores[r][i] = nothing;
  }
}

// Sums of scores * values of R rows over positions first .. end, columns d .. d + 16 W: enough sums
// side by side that a multiplication need not wait for the one before it.
template <class L, int R, int W>
static inline void add_values(const AttentionItem& item, size_t base, size_t first, size_t end,
                              const float (&scores)[R][kChunk], size_t d, float* o) {
  using F = typename L::F;
  F out[R][W];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) out[r][w] = L::set(0.0f);
  }
  for (size_t p = first; p < end;) {
    const size_t stop = (p / kPage + 1) * kPage < end ? (p / kPage + 1) * kPage : end;
    const uint16_t* values =
        item.kv.values(static_cast<size_t>(item.table[p / kPage])) + p % kPage * item.kv.size + d;
    for (; p < stop; ++p, values += item.kv.size) {
      F v[W];
#pragma GCC unroll 4
      for (int w = 0; w < W; ++w) v[w] = L::half(values + 16 * w);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F by = L::set(scores[r][p - base]);
#pragma GCC unroll 4
        for (int w = 0; w < W; ++w) out[r][w] = L::fma(v[w], by, out[r][w]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) {
      L::store(o + static_cast<size_t>(r) * item.kv.size + d + 16 * static_cast<size_t>(w),
               out[r][w]);
    }
  }
}

// Partials of R rows over one chunk, positions base to `limit`: m [R], l [R], o [R][size].
template <class L, int R>
static void attend_chunk(const AttentionItem& item, size_t row, size_t base, size_t limit, float* m,
                         float* l, float* o) {
  using F = typename L::F;
  size_t first = item.first_key(row), end = item.end_key(row + R - 1);
  if (first < base) first = base;
  if (end > limit) end = limit;
  if (first >= end) {
    for (int r = 0; r < R; ++r) {
      m[r] = nothing;
      l[r] = 0.0f;
    }
    return;
  }
  const size_t low = (first - base) / kPage * kPage;
  const size_t high = (end - base + kPage - 1) / kPage * kPage;
  alignas(64) float scores[R][kChunk];
  score<L, R>(item, row, base, low, high, scores);
  for (int r = 0; r < R; ++r) {
    F most = L::load(&scores[r][low]);
    for (size_t i = low + 16; i < high; i += 16) most = L::max(most, L::load(&scores[r][i]));
    m[r] = most_lane<L>(most);
    if (m[r] == nothing) {
      l[r] = 0.0f;
      __builtin_memset(scores[r], 0, sizeof scores[r]);
      continue;
    }
    const F shift = L::set(m[r]);
    F sum = L::set(0.0f);
    for (size_t i = low; i < high; i += 16) {
      const F e = exponential<L>(L::sub(L::load(&scores[r][i]), shift));
      L::store(&scores[r][i], e);
      sum = L::add(sum, e);
    }
    l[r] = sum_lanes<L>(sum);
  }
  // Positions past the end may hold anything: their values are not read at all.
  constexpr int sums = L::kTile >= 8 ? 2 * L::kTile : L::kTile;  // that fit the registers
  constexpr int wide = sums / R >= 4 ? 4 : sums / R >= 2 ? 2 : 1;
  size_t d = 0;
  for (; d + 16 * wide <= item.kv.size; d += 16 * wide) {
    add_values<L, R, wide>(item, base, first, end, scores, d, o);
  }
  for (; d < item.kv.size; d += 16) add_values<L, R, 1>(item, base, first, end, scores, d, o);
}

// Takes a chunk's (m, l, o) of one row into the running (m, l, o) of the chunks before it.
template <class L>
static inline void take_chunk(float m, float l, const float* o, size_t size, float& total_m,
                              float& total_l, float* total_o) {
  if (m == nothing) return;  // no matter how many unseen chunks lie between
  if (total_m == nothing) {  // the first one: the factors would be 0 and 1
    total_m = m;
    total_l = l;
    __builtin_memcpy(total_o, o, size * sizeof(float));
    return;
  }
  const float most = total_m > m ? total_m : m;
  float lanes[16];
  L::store(lanes, exponential<L>(L::set(total_m - most)));
  const float old_by = lanes[0];
  L::store(lanes, exponential<L>(L::set(m - most)));
  const float by = lanes[0];
  total_m = most;
  total_l = total_l * old_by + l * by;
  const auto a = L::set(old_by), b = L::set(by);
  for (size_t d = 0; d < size; d += 16) {
    L::store(total_o + d, L::fma(L::load(o + d), b, L::mul(L::load(total_o + d), a)));
  }
}

template <class L>
static inline void finish_row(const AttentionItem& item, size_t row, float l, const float* o,
                              float* out, size_t query_stride, size_t head_stride) {
  float* to = out + row / item.group * query_stride + row % item.group * head_stride;
  const auto by = L::set(l);
  for (size_t d = 0; d < item.kv.size; d += 16) L::store(to + d, L::div(L::load(o + d), by));
}

template <int R>
struct Running {  // (m, l, o) so far
  float m[R], l[R];
  alignas(64) float o[R * kMaxHead];

  void clear(size_t size) {
    for (int r = 0; r < R; ++r) {
      m[r] = nothing;
      l[r] = 0.0f;
    }
    __builtin_memset(o, 0, R * size * sizeof(float));
  }
};

template <class L, int R>
static inline void take(const Running<R>& part, size_t size, Running<R>& total) {
  for (size_t r = 0; r < R; ++r) {
    take_chunk<L>(part.m[r], part.l[r], part.o + r * size, size, total.m[r], total.l[r],
                  total.o + r * size);
  }
}

// One segment of R rows.
template <class L, int R>
static void attend_segment(const AttentionItem& item, size_t row, size_t segment,
                           Running<R>& total) {
  const size_t size = item.kv.size, last = item.end_key(row + R - 1), lowest = item.first_key(row);
  const size_t start = segment * item.segment;
  const size_t end = start + item.segment < last ? start + item.segment : last;
  total.clear(size);
  size_t base = start;
  if (lowest > start) base += (lowest - start) / kChunk * kChunk;
  for (; base < end; base += kChunk) {
    Running<R> part;
    const size_t limit = base + kChunk < end ? base + kChunk : end;
    attend_chunk<L, R>(item, row, base, limit, part.m, part.l, part.o);
    take<L, R>(part, size, total);
  }
}

template <class L, int R>
static void attention_rows(const AttentionItem& item, size_t row, float* out, size_t query_stride,
                           size_t head_stride) {
  const size_t size = item.kv.size;
  const size_t last = (item.end_key(row + R - 1) - 1) / item.segment;
  Running<R> total, part;
  total.clear(size);
  for (size_t s = item.first_key(row) / item.segment; s <= last; ++s) {
    attend_segment<L, R>(item, row, s, part);
    take<L, R>(part, size, total);
  }
  for (size_t r = 0; r < R; ++r) {
    finish_row<L>(item, row + r, total.l[r], total.o + r * size, out, query_stride, head_stride);
  }
}

template <class L, int R>
static void attend_rows(const AttentionItem& item, size_t row, size_t segment,
                        const AttentionPartials& out) {
  const size_t size = item.kv.size;
  Running<R> total;
  attend_segment<L, R>(item, row, segment, total);
  for (size_t r = 0; r < R; ++r) {
    if (total.m[r] == nothing) continue;
    const size_t at = (row + r) / item.group * out.query_stride, head = (row + r) % item.group;
    out.m[at + head] = total.m[r];
    out.l[at + head] = total.l[r];
    __builtin_memcpy(out.o + at + head * size, total.o + r * size, size * sizeof(float));
  }
}

// Calls fn<R>(row) over all rows in tiles of 8 (where registers allow), 4, 3, 2 and 1.
template <class L, class Fn>
static inline void tiles(size_t rows, Fn fn) {
  size_t row = 0;
  if constexpr (L::kTile >= 8) {
    for (; row + 8 <= rows; row += 8) fn.template operator()<8>(row);
  }
  if constexpr (L::kTile >= 4) {
    for (; row + 4 <= rows; row += 4) fn.template operator()<4>(row);
    if (rows - row == 3) return fn.template operator()<3>(row);
    if (rows - row == 2) return fn.template operator()<2>(row);
  }
  for (; row < rows; ++row) fn.template operator()<1>(row);
}

template <class L>
static void attention(const AttentionItem& item, float* out, size_t query_stride,
                      size_t head_stride) {
  tiles<L>(item.rows, [&]<int R>(size_t row) {
    attention_rows<L, R>(item, row, out, query_stride, head_stride);
  });
}

template <class L>
static void attend(const AttentionItem& item, size_t segment, const AttentionPartials& out) {
  tiles<L>(item.rows, [&]<int R>(size_t row) { attend_rows<L, R>(item, row, segment, out); });
}

template <class L>
static void fold(const AttentionItem& item, const AttentionPartials& parts, float* out,
                 size_t query_stride, size_t head_stride) {
  const size_t size = item.kv.size;
  for (size_t row = 0; row < item.rows; ++row) {
    Running<1> total;
    total.clear(size);
    const size_t at = row / item.group * parts.query_stride, head = row % item.group;
    const size_t last = (item.end_key(row) - 1) / item.segment;
    for (size_t s = item.first_key(row) / item.segment; s <= last; ++s) {
      const size_t from = s * parts.segment_stride + at;
      take_chunk<L>(parts.m[from + head], parts.l[from + head], parts.o + from + head * size, size,
                    total.m[0], total.l[0], total.o);
    }
    finish_row<L>(item, row, total.l[0], total.o, out, query_stride, head_stride);
  }
}

}  // namespace
}  // namespace treadle::cpu
