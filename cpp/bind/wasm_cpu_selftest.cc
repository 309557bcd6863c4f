// Whether this machine computes what the kernels were written for. Scales of the small kinds are 1,
// so their sums are integers that f32 holds exactly: any other result is the machine's.
#include <cmath>
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

struct Case {
  cpu::Kind kind;
  size_t columns;      // odd blocks, and more than one group
  uint8_t factors[2];  // where a block's float16 factors lie
  float error;         // a share of the sum of magnitudes
};

constexpr Case cases[] = {
    {cpu::Kind::q4_0, 544, {0, 0}, 0},     {cpu::Kind::q4_1, 544, {0, 2}, 0},
    {cpu::Kind::q8_0, 544, {0, 0}, 0},     {cpu::Kind::q4_k, 768, {0, 2}, 1e-5f},
    {cpu::Kind::q5_k, 768, {0, 2}, 1e-5f}, {cpu::Kind::q6_k, 768, {208, 208}, 1e-5f},
};

Status test(const Case& given, Random& random) {
  constexpr size_t rows = 40, tokens = 3;  // a short strip, and both tiles
  const size_t columns = given.columns;
  const cpu::Kernels& kernels = *cpu::kernels(cpu::best_isa());
  Result<cpu::Shape> shape = cpu::make_shape(given.kind, rows, columns);
  if (!shape.ok()) return shape.status();
  std::vector<uint8_t> source(rows * shape->row_bytes), packed(shape->bytes());
  for (uint8_t& byte : source) byte = static_cast<uint8_t>(random.from(0, 255));
  for (size_t at = 0; at < source.size(); at += cpu::kind_info(given.kind).block_bytes) {
    for (uint8_t factor : given.factors) {
      source[at + factor] = 0x00, source[at + factor + 1u] = 0x3C;  // 1.0
    }
  }
  Status status = cpu::pack(*shape, source, 0, shape->strips, packed);
  if (!status.ok()) return status;
  const size_t stride = cpu::QuantRow::of(columns).bytes();
  std::vector<uint8_t> quants(tokens * stride);
  std::vector<float> x(tokens * columns), y(tokens * rows), w(columns);
  for (size_t i = 0; i < x.size(); ++i) {  // a 127 in each block makes its scale 1
    x[i] = static_cast<float>(i % 32 == 5 ? 127 : random.from(-127, 127));
  }
  for (size_t t = 0; t < tokens; ++t) {
    kernels.quantise(x.data() + t * columns, columns, quants.data() + t * stride);
  }
  kernels.matmul[static_cast<size_t>(given.kind)](*shape, packed.data(), 0, shape->strips,
                                                  {quants.data(), stride, tokens}, y.data(), rows);
  for (size_t r = 0; r < rows; ++r) {
    cpu::unpack_row(*shape, packed.data(), r, w.data());
    for (size_t t = 0; t < tokens; ++t) {
      double sum = 0, size = 0;
      for (size_t k = 0; k < columns; ++k) {
        const double product = double{w[k]} * double{x[t * columns + k]};
        sum += product;
        size += std::fabs(product);
      }
      if (std::fabs(double{y[t * rows + r]} - sum) <= given.error * size) continue;
      return invalid_request("selftest", std::string(cpu::kind_info(given.kind).name) +
                                             " products are not exact on this machine");
    }
  }
  return ok_status();
}

}  // namespace

Status cpu_selftest() {
  Random random;
  for (int round = 0; round < 2; ++round) {
    for (const Case& given : cases) {
      Status status = test(given, random);
      if (!status.ok()) return status;
    }
  }
  return ok_status();
}

}  // namespace treadle::wasm
