// C = A Bᵀ with B brought into panels once. A panel is kWide rows of B, their values of one column
// side by side, so that a row of A is multiplied with whole vectors and nothing is summed across.
// Sums of kDeep columns at a time keep the error of long rows small.
#include "linear.h"

namespace treadle {

constexpr int kLanes = 16, kVectors = 2, kWide = kLanes * kVectors, kDeep = 192, kRows = 8;
typedef float Vector __attribute__((vector_size(4 * kLanes), aligned(4)));

struct Packed {
  int64_t N, K;
  Floats panels;  // [N / kWide, K, kWide], the last one filled up with zeros
};

// R rows of A [M, K] by the panel `b` of B: adds columns `from` to `to` of the product to `sums`.
template <int R>
void product(const float* a, int64_t K, const float* b, int64_t from, int64_t to, Vector* sums) {
  Vector acc[R][kVectors] = {};
  for (int64_t k = from; k < to; k++) {
    Vector row[kVectors];
    for (int v = 0; v < kVectors; v++)
      std::memcpy(&row[v], b + k * kWide + v * kLanes, sizeof(Vector));
    for (int r = 0; r < R; r++)
      for (int v = 0; v < kVectors; v++) acc[r][v] += a[r * K + k] * row[v];
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < kVectors; v++) sums[r * kVectors + v] += acc[r][v];
}

template <int R>
void rows(const float* a, int64_t K, const float* b, int64_t width, int64_t N, Act* to) {
  Vector sums[R * kVectors] = {};
  for (int64_t k = 0; k < K; k += kDeep)
    product<R>(a, K, b, k, k + kDeep < K ? k + kDeep : K, sums);
  for (int r = 0; r < R; r++) {
    float line[kWide];
    std::memcpy(line, sums + r * kVectors, sizeof(line));
    for (int64_t n = 0; n < width; n++) put(to + r * N + n, line[n]);
  }
}

inline void gemm(const float* x, int64_t M, const Packed& w, Act* to) {
  for (int64_t n = 0; n < w.N; n += kWide) {
    const float* b = w.panels.data() + n * w.K;
    const int64_t width = w.N - n < kWide ? w.N - n : kWide;
    int64_t m = 0;
    for (; m + kRows <= M; m += kRows)
      rows<kRows>(x + m * w.K, w.K, b, width, w.N, to + m * w.N + n);
    for (; m + 4 <= M; m += 4) rows<4>(x + m * w.K, w.K, b, width, w.N, to + m * w.N + n);
    for (; m < M; m++) rows<1>(x + m * w.K, w.K, b, width, w.N, to + m * w.N + n);
  }
}

inline void pack(const Act* b, int64_t N, int64_t K, Packed& to) {
  to.N = N, to.K = K;
  to.panels.assign(static_cast<size_t>((N + kWide - 1) / kWide * kWide * K), 0.0f);
  for (int64_t n = 0; n < N; n++) {
    float* column = to.panels.data() + n / kWide * kWide * K + n % kWide;
    for (int64_t k = 0; k < K; k++) column[k * kWide] = wide(b[n * K + k]);
  }
}

inline int multiplied(const DLTensor* a, const Packed& w, const DLTensor* c) {
  if (!fits<Act>(a, {-1, w.K})) return kBadTensor;
  const int64_t M = a->shape[0];
  if (!fits<Act>(c, {M, w.N})) return kBadTensor;
  Floats room;
  gemm(as_floats(in<Act>(a), M * w.K, room), M, w, out<Act>(c));
  return 0;
}

}  // namespace treadle

extern "C" int prepare(const DLTensor* b, void** made, void*) {
  using namespace treadle;
  if (!fits<Act>(b, {-1, -1})) return kBadTensor;
  auto* packed = new Packed;
  pack(in<Act>(b), b->shape[0], b->shape[1], *packed);
  *made = packed;
  return 0;
}

extern "C" void release(void* made) {
  delete static_cast<treadle::Packed*>(made);
}

extern "C" int run_prepared(const DLTensor* a, const DLTensor* b, const void* made,
                            const DLTensor* c, void*) {
  using namespace treadle;
  const auto& packed = *static_cast<const Packed*>(made);
  if (!fits<Act>(b, {packed.N, packed.K})) return kBadTensor;
  return multiplied(a, packed, c);
}

extern "C" int run(const DLTensor* a, const DLTensor* b, const DLTensor* c, void*) {
  using namespace treadle;
  if (!fits<Act>(b, {-1, -1})) return kBadTensor;
  Packed packed;
  pack(in<Act>(b), b->shape[0], b->shape[1], packed);
  return multiplied(a, packed, c);
}
