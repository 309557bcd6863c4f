// One draw a row from probabilities. Every call draws anew: the seed is a counter that starts from
// the clock, so calls must not be captured into a graph that is replayed.
#include <atomic>
#include <chrono>

#include "constants.h"
#include "dltensor.h"
#include "sample.cu"

namespace treadle {

inline int draw(const DLTensor* probs, const DLTensor* top_k, const DLTensor* top_p,
                const DLTensor* samples, void* stream) {
  static std::atomic<uint64_t> seed{
      static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count())};
  if (!is(probs, 2, 32, 2) || (top_k && !is_i32(top_k, 1)) || (top_p && !is(top_p, 2, 32, 1)) ||
      !is(samples, 0, 64, 1))
    return kBadTensor;
  const uint64_t own = seed.fetch_add(1) * 0x9E3779B97F4A7C15ull;  // far apart for Philox's key
  return treadle_sample_f32(at(samples), at(probs), top_k ? at(top_k) : nullptr,
                            top_p ? at(top_p) : nullptr, nullptr, static_cast<int>(probs->shape[0]),
                            static_cast<int>(probs->shape[1]), own, 0,
                            static_cast<cudaStream_t>(stream));
}

}  // namespace treadle

#if TREADLE_TOP_K && TREADLE_TOP_P
extern "C" int run(const DLTensor* probs, const DLTensor* top_k, const DLTensor* top_p,
                   const DLTensor* samples, void* stream) {
  return treadle::draw(probs, top_k, top_p, samples, stream);
}
#elif TREADLE_TOP_K
extern "C" int run(const DLTensor* probs, const DLTensor* top_k, const DLTensor* samples,
                   void* stream) {
  return treadle::draw(probs, top_k, nullptr, samples, stream);
}
#else
extern "C" int run(const DLTensor* probs, const DLTensor* top_p, const DLTensor* samples,
                   void* stream) {
  return treadle::draw(probs, nullptr, top_p, samples, stream);
}
#endif
