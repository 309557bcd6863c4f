// C = A Bᵀ with B in w4g32: a row is K/2 bytes of codes, then K/32 float16 scales. Of 128 columns
// lane t of 4 holds columns 8t … 8t + 7 of each group of 32, column 2j in nibble j, 2j + 1 in j
// + 4.
#include "linear.h"

namespace treadle {

static void unpack(const uint8_t* row, int64_t K, float* to) {
  const uint8_t* scales = row + K / 2;
  for (int64_t block = 0; block < K / 128; block++)
    for (int lane = 0; lane < 4; lane++)
      for (int group = 0; group < 4; group++) {
        uint32_t codes;
        f16 scale;
        std::memcpy(&codes, row + block * 64 + lane * 16 + group * 4, 4);
        std::memcpy(&scale, scales + 2 * (block * 4 + group), 2);
        const float by = wide(scale);
        float* columns = to + block * 128 + group * 32 + lane * 8;
        for (int j = 0; j < 4; j++) {
          columns[2 * j] = static_cast<float>(static_cast<int>(codes >> (4 * j) & 15) - 8) * by;
          columns[2 * j + 1] =
              static_cast<float>(static_cast<int>(codes >> (4 * j + 16) & 15) - 8) * by;
        }
      }
}

}  // namespace treadle

extern "C" int run(const DLTensor* a, const DLTensor* b, const DLTensor* c, void*) {
  using namespace treadle;
  if (!fits<Act>(a, {-1, -1})) return kBadTensor;
  const int64_t M = a->shape[0], K = a->shape[1], bytes = K / 2 + K / 16;
  if (K % 128 || !fits<int8_t>(b, {-1, bytes})) return kBadTensor;
  const int64_t N = b->shape[0];
  if (!fits<Act>(c, {M, N})) return kBadTensor;
  const Floats x = widened(in<Act>(a), M * K);
  Floats row(static_cast<size_t>(K)), sums(static_cast<size_t>(M));
  for (int64_t n = 0; n < N; n++) {
    unpack(in<uint8_t>(b) + n * bytes, K, row.data());
    column(x.data(), M, K, row.data(), sums.data());
    for (int64_t m = 0; m < M; m++) put(out<Act>(c) + m * N + n, sums[m]);
  }
  return 0;
}
