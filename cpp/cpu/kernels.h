// The kernels of one instruction set as a table of functions. All of them are pure functions over
// ranges: no threads, no allocation, no state. Every set gives identical bits: integer dots are
// exact, float operations and their order are the same, and neither depends on how rows, tokens or
// positions are dealt out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/activations.h"
#include "cpu/attention.h"
#include "cpu/isa.h"
#include "cpu/pack.h"

namespace treadle::cpu {

inline constexpr size_t kNoiseBlocks = 16;  // of Philox that are made together, four words each

enum class Gate : uint8_t { silu, gelu_tanh };

// y[t * stride + row] = sum over columns of w[row] * x[t], for the rows of strips first ..
// first + count (the last strip holds shape.rows % 16 of them) and all rows of x.
using MatmulFn = void (*)(const Shape& shape, const uint8_t* packed, size_t first, size_t count,
                          const Activations& x, float* y, size_t stride);

struct Kernels {
  MatmulFn matmul[kKinds];

  // Reads every byte, 256 at a time and ahead as matmul does: what its speed is measured against.
  uint64_t (*read)(const uint8_t* data, size_t bytes);

  // x [columns] f32 to a QuantRow. A value that is not finite makes its block's scale NaN.
  void (*quantise)(const float* x, size_t columns, uint8_t* row);
  // y = x / sqrt(mean(x^2) + eps) * w, all [columns] f32; y may be x.
  void (*rmsnorm)(const float* x, const float* w, size_t columns, float eps, float* y);
  // y = act(gate) * up and y = a + b, elementwise; y may be an operand.
  void (*glu)(Gate gate, const float* g, const float* u, size_t count, float* y);
  void (*add)(const float* a, const float* b, size_t count, float* y);
  // y = by * x; y = cap * tanh(x / cap).
  void (*scale)(const float* x, float by, size_t count, float* y);
  void (*softcap)(const float* x, float cap, size_t count, float* y);
  // Half-split rotation of `heads` heads of `size` (`apart` floats between them): element j < pairs
  // turns with j + pairs; cosines and sines [pairs] of this position. In place.
  void (*rope)(float* x, size_t heads, size_t size, size_t apart, const float* cosines,
               const float* sines, size_t pairs);
  // Keys and values [kv.size] f32 of one position, rounded to f16.
  void (*kv_write)(const KvHead& kv, size_t page, size_t offset, const float* k, const float* v);
  // out[query * query_stride + head * head_stride + i], as item.q lies.
  void (*attention)(const AttentionItem& item, float* out, size_t query_stride, size_t head_stride);
  // The same in two steps: partials of one segment, then all segments that a row sees folded in
  // order; `parts` are those of segment 0.
  void (*attend)(const AttentionItem& item, size_t segment, const AttentionPartials& out);
  void (*fold)(const AttentionItem& item, const AttentionPartials& parts, float* out,
               size_t query_stride, size_t head_stride);
  // words[j * kNoiseBlocks + b]: word j of the Philox4x32-10 block of counter (step, block + b, 0,
  // 0) under `key`, low half first.
  void (*noise)(uint64_t key, uint32_t step, uint32_t block, uint32_t* words);
};

// Null if this build or this machine lacks the set.
const Kernels* kernels(Isa isa);

// Tables of each file; null where the compiler cannot make them.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* vnni_kernels();
const Kernels* simd128_kernels();
const Kernels* relaxed_kernels();

// Cosines and sines [pairs] of one position, times mscale: the same for every instruction set.
void rope_table(int32_t position, const float* inv_freq, size_t pairs, float mscale, float* cosines,
                float* sines);

}  // namespace treadle::cpu
