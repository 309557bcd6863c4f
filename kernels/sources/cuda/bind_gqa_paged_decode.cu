// Paged decode attention. The workspace of the splits belongs to the library and grows on demand,
// so the first call at a size must not be under graph capture.
#include <mutex>

#include "constants.h"
#include "dltensor.h"
#include "gqa_paged_decode.cu"

namespace treadle {

struct Workspace {  // one stream at a time, as everywhere in a decode step
  std::mutex lock;
  void *partial = nullptr, *arrived = nullptr;
  size_t bytes = 0, counters = 0;

  int fit(size_t need, size_t count) {
    if (need > bytes) {
      cudaFree(partial);
      partial = nullptr, bytes = 0;
      if (const cudaError_t status = cudaMalloc(&partial, need)) return status;
      bytes = need;
    }
    if (count > counters) {
      cudaFree(arrived);
      arrived = nullptr, counters = 0;
      if (const cudaError_t status = cudaMalloc(&arrived, count * sizeof(int))) return status;
      if (const cudaError_t status = cudaMemset(arrived, 0, count * sizeof(int))) return status;
      counters = count;
    }
    return 0;
  }
};

inline int decode(const DLTensor* q, const DLTensor* k, const DLTensor* v, const DLTensor* indptr,
                  const DLTensor* indices, const DLTensor* last, double scale, const DLTensor* out,
                  const DLTensor* lse, void* stream) {
  static Workspace workspace;
  if (!is_bf16(q, 3) || !is_bf16(k, 4) || !is_bf16(v, 4) || !is_i32(indptr, 1) ||
      !is_i32(indices, 1) || (last && !is_i32(last, 1)) || !is_bf16(out, 3) || !is(lse, 2, 32, 2))
    return kBadTensor;
  const int b = q->shape[0], H = q->shape[1], d = q->shape[2];
  const int page = k->shape[1], K = k->shape[2];
  if (b == 0) return 0;
  // Lengths are on the device: the mean of the index buffer stands for them.
  const int64_t length = indices->shape[0] * page / b;
  int64_t splits = 132 * 4 / (int64_t{b} * K);
  if (splits > (length + 63) / 64) splits = (length + 63) / 64;
  splits = splits < 1 ? 1 : splits > 64 ? 64 : splits;
  const std::lock_guard<std::mutex> guard(workspace.lock);
  const size_t bytes = sizeof(float) * b * H * splits * (d + 2);
  if (const int status = workspace.fit(bytes, size_t(b) * K)) return status;
  return treadle_gqa_paged_decode_bf16(
      at(out), at(lse), at(q), at(k), at(v), at(indptr), at(indices), last ? at(last) : nullptr,
      workspace.partial, workspace.arrived, b, H, K, d, page, int64_t{H} * d,
      static_cast<int>(splits), static_cast<float>(scale), 0, static_cast<cudaStream_t>(stream));
}

}  // namespace treadle

#if TREADLE_PAGE > 1
extern "C" int run(const DLTensor* q, const DLTensor* k, const DLTensor* v, const DLTensor* indptr,
                   const DLTensor* indices, const DLTensor* last, double scale, const DLTensor* out,
                   const DLTensor* lse, void* stream) {
  return treadle::decode(q, k, v, indptr, indices, last, scale, out, lse, stream);
}
#else
extern "C" int run(const DLTensor* q, const DLTensor* k, const DLTensor* v, const DLTensor* indptr,
                   const DLTensor* indices, double scale, const DLTensor* out, const DLTensor* lse,
                   void* stream) {
  return treadle::decode(q, k, v, indptr, indices, nullptr, scale, out, lse, stream);
}
#endif
