// y = silu(x . wg^T) * (x . wu^T) in bfloat16; both products are rounded first.
#include "streamed.cuh"

extern "C" int prepare(const DLTensor* gates, const DLTensor* ups, void** made, void*) {
  return treadle::stream_prepared(gates, ups, made);
}

extern "C" int run_prepared(const DLTensor* x, const DLTensor*, const DLTensor*, const void* made,
                            const DLTensor* y, void* stream) {
  using namespace treadle;
  return streamed<kGate>(x, *static_cast<const Streamed*>(made), nullptr, y, true, stream);
}

extern "C" int run(const DLTensor* x, const DLTensor* gates, const DLTensor* ups, const DLTensor* y,
                   void* stream) {
  treadle::Streamed w;
  if (const int status = treadle::stream_of(&w, gates, ups)) return status;
  return treadle::streamed<treadle::kGate>(x, w, nullptr, y, false, stream);
}
