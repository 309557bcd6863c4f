// Attention of a few rows over the chunks of a sequence, over any set of lanes. Every chunk of 128
// positions is a softmax of its own; chunks are folded in their order, so a row's bits depend
// neither on which rows share its reads nor on how chunks were dealt out.
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

// Scores of R rows over the pages of a chunk; what a row does not see is -inf.
template <class L, int R>
static inline void score(const AttentionItem& item, size_t row, size_t chunk, size_t first,
                         size_t end, float (&scores)[R][kChunk]) {
  using F = typename L::F;
  const float* q[R];
  for (int r = 0; r < R; ++r) {
    const size_t at = row + static_cast<size_t>(r);
    q[r] = item.q + at / item.group * item.query_stride + at % item.group * item.head_stride;
  }
  const F by = L::set(item.scale);
  for (size_t p = 0; p < kChunk; p += kPage) {
    const size_t base = chunk * kChunk + p;
    if (base + kPage <= first || base >= end) {
      for (int r = 0; r < R; ++r) L::store(&scores[r][p], L::set(nothing));
      continue;
    }
    const uint16_t* keys = item.kv.keys(static_cast<size_t>(item.table[base / kPage]));
    F even[R], odd[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) even[r] = odd[r] = L::set(0.0f);
    for (size_t i = 0; i < item.kv.size; i += 2) {
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
    const size_t from = item.first_key(at), to = item.end_key(at), base = chunk * kChunk;
    for (size_t i = 0; base + i < from && i < kChunk; ++i) scores[r][i] = nothing;
    for (size_t i = to > base ? to - base : 0; i < kChunk; ++i) scores[r][i] = nothing;
  }
}

// Partials of R rows: m [R], l [R], o [R][size].
template <class L, int R>
static void attend_rows(const AttentionItem& item, size_t row, size_t chunk, float* m, float* l,
                        float* o) {
  using F = typename L::F;
  const size_t base = chunk * kChunk;
  size_t first = item.first_key(row), end = item.end_key(row + R - 1);
  if (first < base) first = base;
  if (end > base + kChunk) end = base + kChunk;
  alignas(64) float scores[R][kChunk];
  score<L, R>(item, row, chunk, first, end, scores);
  for (int r = 0; r < R; ++r) {
    F most = L::load(scores[r]);
    for (size_t i = 16; i < kChunk; i += 16) most = L::max(most, L::load(&scores[r][i]));
    float lanes[16];
    L::store(lanes, most);
    m[r] = lanes[0];
    for (int i = 1; i < 16; ++i) m[r] = lanes[i] > m[r] ? lanes[i] : m[r];
    if (m[r] == nothing) {
      l[r] = 0.0f;
      __builtin_memset(scores[r], 0, sizeof scores[r]);
      continue;
    }
    const F shift = L::set(m[r]);
    F sum = L::set(0.0f);
    for (size_t i = 0; i < kChunk; i += 16) {
      const F e = exponential<L>(L::sub(L::load(&scores[r][i]), shift));
      L::store(&scores[r][i], e);
      sum = L::add(sum, e);
    }
    l[r] = sum_lanes<L>(sum);
  }
  // Positions past the end may hold anything: their values are not read at all.
  for (size_t d = 0; d < item.kv.size; d += 16) {
    F out[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) out[r] = L::set(0.0f);
    for (size_t p = first; p < end;) {
      const size_t stop = (p / kPage + 1) * kPage < end ? (p / kPage + 1) * kPage : end;
      const uint16_t* values =
          item.kv.values(static_cast<size_t>(item.table[p / kPage])) + p % kPage * item.kv.size + d;
      for (; p < stop; ++p, values += item.kv.size) {
        const F v = L::half(values);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) out[r] = L::fma(v, L::set(scores[r][p - base]), out[r]);
      }
    }
    for (int r = 0; r < R; ++r) L::store(o + static_cast<size_t>(r) * item.kv.size + d, out[r]);
  }
}

// Takes a chunk's (m, l, o) of one row into the running (m, l, o) of the chunks before it.
template <class L>
static inline void take_chunk(float m, float l, const float* o, size_t size, float& total_m,
                              float& total_l, float* total_o) {
  if (m == nothing) return;  // no matter how many unseen chunks lie between
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

template <class L, int R>
static void attention_rows(const AttentionItem& item, size_t row, float* out, size_t query_stride,
                           size_t head_stride) {
  alignas(64) float total_o[R * kMaxHead], o[R * kMaxHead];
  float total_m[R], total_l[R], m[R], l[R];
  const size_t size = item.kv.size;
  for (int r = 0; r < R; ++r) {
    total_m[r] = nothing;
    total_l[r] = 0.0f;
  }
  __builtin_memset(total_o, 0, R * size * sizeof(float));
  const size_t last = (item.end_key(row + R - 1) - 1) / kChunk;
  for (size_t chunk = item.first_key(row) / kChunk; chunk <= last; ++chunk) {
    attend_rows<L, R>(item, row, chunk, m, l, o);
    for (size_t r = 0; r < R; ++r) {
      take_chunk<L>(m[r], l[r], o + r * size, size, total_m[r], total_l[r], total_o + r * size);
    }
  }
  for (size_t r = 0; r < R; ++r) {
    finish_row<L>(item, row + r, total_l[r], total_o + r * size, out, query_stride, head_stride);
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
static void attend(const AttentionItem& item, size_t chunk, AttentionPartials out) {
  tiles<L>(item.rows, [&]<int R>(size_t row) {
    attend_rows<L, R>(item, row, chunk, out.m + row, out.l + row, out.o + row * item.kv.size);
  });
}

template <class L>
static void fold(const AttentionItem& item, AttentionPartials first, size_t chunks, float* out,
                 size_t query_stride, size_t head_stride) {
  alignas(64) float total_o[kMaxHead];
  const size_t size = item.kv.size;
  for (size_t row = 0; row < item.rows; ++row) {
    float m = nothing, l = 0.0f;
    __builtin_memset(total_o, 0, size * sizeof(float));
    for (size_t c = 0; c < chunks; ++c) {
      const size_t at = c * first.chunk_stride + row;
      take_chunk<L>(first.m[at], first.l[at], first.o + at * size, size, m, l, total_o);
    }
    finish_row<L>(item, row, l, total_o, out, query_stride, head_stride);
  }
}

}  // namespace
}  // namespace treadle::cpu
