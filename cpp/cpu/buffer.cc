#include "cpu/buffer.h"

#include <algorithm>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace treadle::cpu {

namespace {

constexpr size_t small_page = 4096, large_page = size_t{2} << 20;

}  // namespace

uint8_t* take_buffer(size_t bytes, size_t small) {
  if (bytes > SIZE_MAX - large_page) return nullptr;
  const size_t page = bytes >= large_page ? large_page : small_page;
  const size_t whole = bytes ? (bytes + page - 1) / page * page : page;
  void* out = std::aligned_alloc(page, whole);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (out && page == large_page) {  // wishes: failing is well
    const size_t first = std::min((small + page - 1) / page * page, whole);
    madvise(out, first, MADV_NOHUGEPAGE);
    madvise(static_cast<uint8_t*>(out) + first, whole - first, MADV_HUGEPAGE);
  }
#else
  (void)small;
#endif
  return static_cast<uint8_t*>(out);
}

void give_buffer(uint8_t* buffer) {
  std::free(buffer);
}

}  // namespace treadle::cpu
