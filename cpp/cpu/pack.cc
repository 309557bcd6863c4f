#include "cpu/pack.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "cpu/half.h"

namespace treadle::cpu {

namespace {

constexpr size_t most = size_t{1} << 24;

// Where the planes of a group begin.
// Blocks of 32: see SmallPlanes. Fifth bits: one line a block, bit i of a byte is column 4 i + j.
// q4_k: q 2048 | scales 8x16 | mins 8x16 | d 32 | dmin 32;  q5_k: fifth bits 512 after q.
// q6_k: low 2048 | high 1024 | scales 16x16 | d 32, pad 32.
// A plane of bytes holds 4 neighbours of each of 16 rows in one line of 64.

// Byte `i` of a row's plane goes where the kernels broadcast four activations at a time.
void spread(const uint8_t* from, size_t count, size_t row, uint8_t* to, uint8_t flip = 0) {
  for (size_t i = 0; i < count; ++i) {
    to[i / 4 * kLine + row * 4 + i % 4] = from[i] ^ flip;
  }
}

uint8_t spread_at(const uint8_t* plane, size_t row, size_t i) {
  return plane[i / 4 * kLine + row * 4 + i % 4];
}

// The twelve bytes of Q4_K and Q5_K: eight 6-bit scales and eight 6-bit minima.
void six_bits(const uint8_t* packed, size_t row, uint8_t* scales, uint8_t* minima) {
  for (size_t i = 0; i < 4; ++i) {
    scales[i * 16 + row] = packed[i] & 63;
    minima[i * 16 + row] = packed[4 + i] & 63;
    scales[(4 + i) * 16 + row] = static_cast<uint8_t>((packed[8 + i] & 15) | (packed[i] >> 6) << 4);
    minima[(4 + i) * 16 + row] =
        static_cast<uint8_t>((packed[8 + i] >> 4) | (packed[4 + i] >> 6) << 4);
  }
}

void pack_small(Kind kind, const uint8_t* from, size_t half, size_t row, uint8_t* group) {
  const SmallPlanes planes = small_planes(kind);
  uint8_t* factors = group + planes.factors_at(half);
  std::memcpy(factors + row * 2, from, 2);
  from += 2;
  if (planes.minimum) {
    std::memcpy(factors + 32 + row * 2, from, 2);
    from += 2;
  }
  if (planes.fifths) {
    uint8_t* to = group + planes.fifths_at(half) + row * 4;
    for (size_t i = 0; i < 32; ++i) {
      to[i % 4] |= static_cast<uint8_t>((from[i / 8] >> i % 8 & 1) << i / 4);
    }
    from += 4;
  }
  spread(from, kind == Kind::q8_0 ? 32 : 16, row, group + half * planes.quants,
         kind == Kind::q8_0 ? 0x80 : 0);  // stored + 128, so that it is unsigned
}

void pack_large(Kind kind, const uint8_t* from, size_t row, uint8_t* group) {
  if (kind == Kind::q6_k) {
    spread(from, 128, row, group);
    spread(from + 128, 64, row, group + 2048);
    for (size_t i = 0; i < 16; ++i) group[3072 + i * 16 + row] = from[192 + i];
    std::memcpy(group + 3328 + row * 2, from + 208, 2);
    return;
  }
  uint8_t* scales = group + 2048;
  if (kind == Kind::q5_k) {
    spread(from + 16, 32, row, group + 2048);
    scales += 512;
  }
  spread(from + (kind == Kind::q5_k ? 48 : 16), 128, row, group);
  six_bits(from + 4, row, scales, scales + 128);
  std::memcpy(scales + 256 + row * 2, from, 2);
  std::memcpy(scales + 288 + row * 2, from + 2, 2);
}

void unpack_small(Kind kind, const uint8_t* group, size_t half, size_t row, float* out) {
  const SmallPlanes planes = small_planes(kind);
  const uint8_t* q = group + half * planes.quants;
  const uint8_t* fifths = group + planes.fifths_at(half) + row * 4;
  const uint8_t* factors = group + planes.factors_at(half);
  const int middle = kind == Kind::q4_0 ? 8 : kind == Kind::q5_0 ? 16 : 0;
  uint16_t d, m = 0;
  std::memcpy(&d, factors + row * 2, 2);
  if (planes.minimum) std::memcpy(&m, factors + 32 + row * 2, 2);
  const float scale = widen_half(d), minimum = widen_half(m);
  for (size_t i = 0; i < 32; ++i) {
    if (kind == Kind::q8_0) {
      out[i] = static_cast<float>(spread_at(q, row, i) - 128) * scale;
      continue;
    }
    int value = spread_at(q, row, i % 16) >> (i < 16 ? 0 : 4) & 15;
    if (planes.fifths) value |= (fifths[i % 4] >> i / 4 & 1) << 4;
    const float wide = static_cast<float>(value - middle) * scale;
    out[i] = planes.minimum ? wide + minimum : wide;
  }
}

void unpack_large(Kind kind, const uint8_t* group, size_t row, float* out) {
  if (kind == Kind::q6_k) {
    uint16_t d;
    std::memcpy(&d, group + 3328 + row * 2, 2);
    const float factor = widen_half(d);
    for (size_t i = 0; i < 256; ++i) {
      const size_t half = i / 128, plane = i % 128 / 32, at = i % 32;
      const int low = spread_at(group, row, half * 64 + plane % 2 * 32 + at) >> plane / 2 * 4 & 15;
      const int high = spread_at(group + 2048, row, half * 32 + at) >> plane * 2 & 3;
      const auto scale = static_cast<int8_t>(group[3072 + i / 16 * 16 + row]);
      out[i] = static_cast<float>((low | high << 4) - 32) * (factor * static_cast<float>(scale));
    }
    return;
  }
  const uint8_t* scales = group + (kind == Kind::q5_k ? 2560 : 2048);
  uint16_t d, dmin;
  std::memcpy(&d, scales + 256 + row * 2, 2);
  std::memcpy(&dmin, scales + 288 + row * 2, 2);
  const float factor = widen_half(d), lower = widen_half(dmin);
  for (size_t i = 0; i < 256; ++i) {
    const size_t sub = i / 32;
    int value = spread_at(group, row, sub / 2 * 32 + i % 32) >> sub % 2 * 4 & 15;
    if (kind == Kind::q5_k) value |= (spread_at(group + 2048, row, i % 32) >> sub & 1) << 4;
    out[i] = static_cast<float>(value) * (factor * static_cast<float>(scales[sub * 16 + row])) -
             lower * static_cast<float>(scales[128 + sub * 16 + row]);
  }
}

void pack_floats(size_t width, const uint8_t* from, size_t columns, size_t row, uint8_t* out) {
  for (size_t k = 0; k < columns; ++k) {
    std::memcpy(out + (k * kStripRows + row) * width, from + k * width, width);
  }
}

}  // namespace

Result<Shape> make_shape(Kind kind, size_t rows, size_t columns) {
  const KindInfo& info = kind_info(kind);
  if (rows == 0 || columns == 0 || rows > most || columns > most) {
    return invalid_request("weight", "has shape [" + std::to_string(rows) + ", " +
                                         std::to_string(columns) + "]; sizes lie in 1..2^24");
  }
  if (columns % info.block != 0) {
    return invalid_request("weight", std::string(info.name) + " needs columns in multiples of " +
                                         std::to_string(info.block) + ", got " +
                                         std::to_string(columns));
  }
  Shape shape{.kind = kind, .rows = rows, .columns = columns};
  shape.groups = (columns + info.group - 1) / info.group;
  shape.row_bytes = columns / info.block * info.block_bytes;
  shape.strips = (rows + kStripRows - 1) / kStripRows;
  shape.strip_bytes = shape.groups * info.group_bytes;
  return shape;
}

void pack_strip(const Shape& shape, const uint8_t* const rows[kStripRows], uint8_t* out) {
  const KindInfo& info = kind_info(shape.kind);
  std::memset(out, 0, shape.strip_bytes);
  const size_t blocks = shape.columns / info.block;
  for (size_t row = 0; row < kStripRows; ++row) {
    const uint8_t* from = rows[row];
    if (!from) continue;
    if (!info.integer) {
      pack_floats(info.block_bytes, from, shape.columns, row, out);
      continue;
    }
    for (size_t b = 0; b < blocks; ++b, from += info.block_bytes) {
      if (info.block == 32) {
        pack_small(shape.kind, from, b % 2, row, out + b / 2 * info.group_bytes);
      } else {
        pack_large(shape.kind, from, row, out + b * info.group_bytes);
      }
    }
  }
}

Status pack(const Shape& shape, std::span<const uint8_t> source, size_t first, size_t count,
            std::span<uint8_t> out) {
  if (source.size() != shape.rows * shape.row_bytes) {
    return invalid_request("weight", "data has " + std::to_string(source.size()) +
                                         " bytes, the shape needs " +
                                         std::to_string(shape.rows * shape.row_bytes));
  }
  if (out.size() != shape.bytes() || first > shape.strips || count > shape.strips - first) {
    return invalid_request("weight", "packs strips " + std::to_string(first) + "+" +
                                         std::to_string(count) + " of " +
                                         std::to_string(shape.strips) + " into " +
                                         std::to_string(out.size()) + " bytes");
  }
  for (size_t strip = first; strip < first + count; ++strip) {
    const uint8_t* rows[kStripRows] = {};
    const size_t used = std::min(kStripRows, shape.rows - strip * kStripRows);
    for (size_t i = 0; i < used; ++i) {
      rows[i] = source.data() + (strip * kStripRows + i) * shape.row_bytes;
    }
    pack_strip(shape, rows, out.data() + strip * shape.strip_bytes);
  }
  return ok_status();
}

void unpack_row(const Shape& shape, const uint8_t* packed, size_t row, float* out) {
  const KindInfo& info = kind_info(shape.kind);
  const uint8_t* strip = packed + row / kStripRows * shape.strip_bytes;
  const size_t lane = row % kStripRows;
  if (!info.integer) {
    for (size_t k = 0; k < shape.columns; ++k) {
      const uint8_t* at = strip + (k * kStripRows + lane) * info.block_bytes;
      uint16_t narrow;
      if (shape.kind == Kind::f32) {
        std::memcpy(&out[k], at, 4);
      } else {
        std::memcpy(&narrow, at, 2);
        out[k] = shape.kind == Kind::f16 ? widen_half(narrow) : widen_brain(narrow);
      }
    }
    return;
  }
  for (size_t b = 0; b < shape.columns / info.block; ++b) {
    if (info.block == 32) {
      unpack_small(shape.kind, strip + b / 2 * info.group_bytes, b % 2, lane, out + b * 32);
    } else {
      unpack_large(shape.kind, strip + b * info.group_bytes, lane, out + b * 256);
    }
  }
}

}  // namespace treadle::cpu
