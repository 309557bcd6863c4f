// Attention over paged f16 keys and values: the shapes its kernels take.
#pragma once

#include <cstddef>
#include <cstdint>

namespace treadle::cpu {

inline constexpr size_t kPage = 16;  // positions a page
inline constexpr size_t kChunk =
    128;  // positions whose softmax is one unit, from a segment's start
inline constexpr size_t kMaxHead = 256;

// One KV head of one layer. A page holds K as [size][16 positions], so that sixteen scores are
// sixteen lanes, then V as [16 positions][size]: the logical [2, B, d] with K's last two strides
// exchanged. Pages of this head lie `page_stride` halves apart.
struct KvHead {
  uint16_t* data;
  size_t page_stride;
  size_t size;  // d: multiple of 16, at most 256

  uint16_t* keys(size_t page) const { return data + page * page_stride; }
  uint16_t* values(size_t page) const { return keys(page) + kPage * size; }
};

// Queries of one sequence that read one KV head: row r = query r / group, head r % group. Query i
// stands at position `position + i` and sees max(0, p - window + 1) .. p (from 0 if window is 0).
struct AttentionItem {
  const float* q;       // of query 0, head 0 of the group
  size_t query_stride;  // floats between queries
  size_t head_stride;   // floats between heads
  size_t group;
  size_t rows;  // group * queries
  size_t position;
  size_t window;
  float scale;
  float softcap;   // 0: none
  size_t segment;  // positions of a segment: a multiple of 16; partials are a segment's
  KvHead kv;
  const int32_t* table;  // page of positions 16 i .. 16 i + 15

  size_t first_key(size_t row) const {
    const size_t p = position + row / group;
    return window && p + 1 > window ? p + 1 - window : 0;
  }
  size_t end_key(size_t row) const { return position + row / group + 1; }
  // Segments that any row sees: first .. last, inclusive.
  size_t first_segment() const { return first_key(0) / segment; }
  size_t last_segment() const { return (end_key(rows - 1) - 1) / segment; }
};

// What one segment gives a row: the maximum m of its scores, l = sum of exp(score - m), and o =
// sum of exp(score - m) * v. A row that sees nothing of the segment is left as it is. Pointers are
// those of query 0, head 0; heads lie 1 float apart in m and l, `head` floats in o.
struct AttentionPartials {
  float* m;
  float* l;
  float* o;
  size_t query_stride;
  size_t segment_stride;
};

}  // namespace treadle::cpu
