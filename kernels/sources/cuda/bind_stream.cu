// C[M, N] = A[M, K] . B[N, K]^T in bfloat16.
#include "streamed.cuh"

extern "C" int prepare(const DLTensor* b, void** made, void*) {
  return treadle::stream_prepared(b, b, made);
}

extern "C" int run_prepared(const DLTensor* a, const DLTensor*, const void* made, const DLTensor* c,
                            void* stream) {
  using namespace treadle;
  return streamed<kPlain>(a, *static_cast<const Streamed*>(made), nullptr, c, true, stream);
}

extern "C" int run(const DLTensor* a, const DLTensor* b, const DLTensor* c, void* stream) {
  treadle::Streamed w;
  if (const int status = treadle::stream_of(&w, b, b)) return status;
  return treadle::streamed<treadle::kPlain>(a, w, nullptr, c, false, stream);
}
