// q and k rotated by a table of cosines and sines.
#include "dltensor.h"
#include "rope.cu"

extern "C" int run(const DLTensor* q, const DLTensor* k, const DLTensor* table,
                   const DLTensor* positions, const DLTensor* q_out, const DLTensor* k_out,
                   void* stream) {
  using namespace treadle;
  if (!is_bf16(q, 3) || !is_bf16(k, 3) || !is(table, 2, 32, 2) || !is(positions, 0, 64, 1) ||
      !is_bf16(q_out, 3) || !is_bf16(k_out, 3))
    return kBadTensor;
  const int T = q->shape[0], H = q->shape[1], K = k->shape[1], d = q->shape[2];
  return treadle_rope_bf16(at(q_out), at(k_out), nullptr, at(q), at(k), nullptr, at(table),
                           at(positions), nullptr, nullptr, nullptr, T, H, K, d,
                           static_cast<int>(table->shape[1] / 2), int64_t{H} * d, int64_t{K} * d, 0,
                           0.f, 0, static_cast<cudaStream_t>(stream));
}
