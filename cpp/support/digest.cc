#include "support/digest.h"

#include <atomic>

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
  return (uint64_t{device()} << 32 | device()) | 1;  // never 0
#endif
}

std::atomic<uint64_t> shared_key{0};  // 0: not drawn yet

}  // namespace

uint64_t digest_key() {
  const uint64_t known = shared_key.load(std::memory_order_relaxed);
  return known != 0 ? known : (adopt_digest_key(draw_key()), shared_key.load());
}

bool adopt_digest_key(uint64_t key) {
  uint64_t known = 0;
  return shared_key.compare_exchange_strong(known, key) || known == key;
}

}  // namespace treadle
