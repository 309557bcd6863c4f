// Weights repacked once at load: strips of 16 rows in the order the kernels stream them, the same
// bytes for every instruction set. Pure functions over ranges, so workers pack side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu/kinds.h"
#include "support/result.h"

namespace treadle::cpu {

// A matrix [rows, columns] of one kind and what packing makes of it.
struct Shape {
  Kind kind = Kind::f32;
  size_t rows = 0;
  size_t columns = 0;
  size_t groups = 0;       // groups of columns a strip, the last one padded
  size_t row_bytes = 0;    // a row in the file
  size_t strips = 0;       // of 16 rows, the last one padded with zero rows
  size_t strip_bytes = 0;  // multiple of 64

  size_t bytes() const { return strips * strip_bytes; }
};

// Rows and columns 1 .. 2^24, columns a multiple of the kind's block.
Result<Shape> make_shape(Kind kind, size_t rows, size_t columns);

// Packs one strip: `rows[i]` points to row i in the file's format (any alignment), null stands for
// a row of zeros. `out` holds shape.strip_bytes. The rows of a strip need not be neighbours: gate
// and up rows share strips, and q, k and v lie in one matrix.
void pack_strip(const Shape& shape, const uint8_t* const rows[kStripRows], uint8_t* out);

// Packs strips first .. first + count of a matrix whose rows lie one after another in `source`.
// `out` is the start of the whole packed matrix.
Status pack(const Shape& shape, std::span<const uint8_t> source, size_t first, size_t count,
            std::span<uint8_t> out);

// Widens one row of a packed matrix to f32 (embedding; the oracle of the tests). Exact.
void unpack_row(const Shape& shape, const uint8_t* packed, size_t row, float* out);

}  // namespace treadle::cpu
