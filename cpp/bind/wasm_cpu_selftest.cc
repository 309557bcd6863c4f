// Whether this machine computes what the kernels were written for. Scales are 1, so every sum is
// an integer that f32 holds exactly: any other result is the machine's.
#include <string>
#include <vector>

#include "bind/wasm_cpu.h"
#include "cpu/activations.h"
#include "cpu/kernels.h"

namespace treadle::wasm {

namespace {

class Random {
 public:
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  // Every fourth is an end of the range, where sums are largest.
  int32_t from(int32_t low, int32_t high) {
    const uint32_t drawn = next();
    if (drawn % 4 == 0) return drawn & 4 ? low : high;
    return low + static_cast<int32_t>(next() % static_cast<uint32_t>(high - low + 1));
  }

 private:
  uint64_t state_ = 1;
};

constexpr uint8_t one_half[2] = {0x00, 0x3C};  // 1.0 in float16

// Rows of a file with scale 1 and minimum 0, and the integers that they hold.
struct Block {
  std::vector<uint8_t> data;
  std::vector<int32_t> values;

  Block(cpu::Kind kind, size_t blocks, Random& random) {
    for (size_t b = 0; b < blocks; ++b) {
      data.insert(data.end(), one_half, one_half + 2);
      if (kind == cpu::Kind::q4_1) data.insert(data.end(), 2, 0);
      const size_t at = values.size();
      for (int i = 0; i < 32; ++i) {
        values.push_back(kind == cpu::Kind::q8_0 ? random.from(-128, 127) : random.from(0, 15));
      }
      for (size_t i = 0; i < (kind == cpu::Kind::q8_0 ? 32 : 16); ++i) {
        const int32_t low = values[at + i];
        data.push_back(
            static_cast<uint8_t>(kind == cpu::Kind::q8_0 ? low : low | values[at + 16 + i] << 4));
      }
      if (kind == cpu::Kind::q4_0) {
        for (size_t i = at; i < values.size(); ++i) values[i] -= 8;
      }
    }
  }
};

Status test(cpu::Kind kind, Random& random) {
  constexpr size_t rows = 40, columns = 544, tokens = 3;  // a short strip, an odd block, both tiles
  constexpr size_t blocks = columns / 32;
  const cpu::Kernels& kernels = *cpu::kernels(cpu::best_isa());
  Result<cpu::Shape> shape = cpu::make_shape(kind, rows, columns);
  if (!shape.ok()) return shape.status();
  const Block weights(kind, rows * blocks, random);
  std::vector<uint8_t> packed(shape->bytes());
  Status status = cpu::pack(*shape, weights.data, 0, shape->strips, packed);
  if (!status.ok()) return status;
  const size_t stride = cpu::QuantRow::of(columns).bytes();
  std::vector<uint8_t> quants(tokens * stride);
  std::vector<float> x(tokens * columns), y(tokens * rows);
  for (size_t i = 0; i < x.size(); ++i) {  // a 127 in each block makes its scale 1
    x[i] = static_cast<float>(i % 32 == 5 ? 127 : random.from(-127, 127));
  }
  for (size_t t = 0; t < tokens; ++t) {
    kernels.quantise(x.data() + t * columns, columns, quants.data() + t * stride);
  }
  kernels.matmul[static_cast<size_t>(kind)](*shape, packed.data(), 0, shape->strips,
                                            {quants.data(), stride, tokens}, y.data(), rows);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = 0; r < rows; ++r) {
      int32_t sum = 0;
      for (size_t k = 0; k < columns; ++k) {
        sum += weights.values[r * columns + k] * static_cast<int32_t>(x[t * columns + k]);
      }
      if (y[t * rows + r] == static_cast<float>(sum)) continue;
      return invalid_request("selftest", std::string(cpu::kind_info(kind).name) + " gives " +
                                             std::to_string(y[t * rows + r]) + ", not " +
                                             std::to_string(sum));
    }
  }
  return ok_status();
}

}  // namespace

Status cpu_selftest() {
  Random random;
  for (int round = 0; round < 2; ++round) {  // 2 * 3 * 680 blocks
    for (cpu::Kind kind : {cpu::Kind::q4_0, cpu::Kind::q4_1, cpu::Kind::q8_0}) {
      Status status = test(kind, random);
      if (!status.ok()) return status;
    }
  }
  return ok_status();
}

}  // namespace treadle::wasm
