#include "support/digest.h"

#ifndef __wasm__
#include <random>
#endif

namespace treadle {

namespace {

uint64_t draw_key() {
#ifdef __wasm__
  return 0x6a09e667f3bcc909ULL;  // one page is one user: nobody shares its digests
#else
  std::random_device device;
  return uint64_t{device()} << 32 | device();
#endif
}

}  // namespace

uint64_t digest_key() {
  static const uint64_t key = draw_key();
  return key;
}

}  // namespace treadle
