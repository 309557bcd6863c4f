// How a matrix lies in the stream: bytes of a pair (16 rows by 32 columns, two fragments A) and
// columns of a tile. The same table in `treadle.mega.forms`.
#pragma once

namespace treadle::mega {

enum FormId : int { kBf16 = 0, kFour = 1, kFourLow = 2, kEight = 3 };

template <int kForm>
struct Form;
template <>
struct Form<kBf16> {
  static constexpr int kPair = 1024, kSpan = kTileColumns;
};
/// 4-bit codes of 16 rows and 32 columns, then a float16 scale a row.
template <>
struct Form<kFour> {
  static constexpr int kPair = 256 + 32, kSpan = 2 * kTileColumns;
};
/// ... a scale and a least value a row.
template <>
struct Form<kFourLow> {
  static constexpr int kPair = 256 + 64, kSpan = 2 * kTileColumns;
};

/// Codes of e4m3 and 16 bytes of the float32 scales, one a row, that four pairs share.
template <>
struct Form<kEight> {
  static constexpr int kPair = 512 + 16, kSpan = kTileColumns;
};

/// First column of a range of the table, and the one behind its last.
template <class P>
TM_DEVICE int first_column(uint32_t z) {
  return static_cast<int>(z & 0xffff) * kTileColumns;
}
template <class P>
TM_DEVICE int end_column(uint32_t z) {
  const int end = static_cast<int>((z & 0xffff) + (z >> 16)) * kTileColumns;
  return P::k % kTileColumns == 0 || end < P::k ? end : P::k;
}

}  // namespace treadle::mega
