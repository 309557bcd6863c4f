// Memory in large pages for tables that are read at random, where the system has them.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace treadle {

// An allocator whose large blocks ask for pages of 2 MiB: where every read misses the caches, it
// would mostly miss the address translation too, and that costs as much again. What such a page
// would not fill stays in small ones, so no memory is lost.
template <typename T>
struct HugePages {
  using value_type = T;

  HugePages() = default;
  template <typename U>
  HugePages(const HugePages<U>&) {}  // NOLINT(google-explicit-constructor): allocators convert
  bool operator==(const HugePages&) const { return true; }

#if defined(__linux__)
  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    if (bytes < kPage) return std::allocator<T>().allocate(count);
    void* block = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
    if (!block) std::abort();  // as operator new does without exceptions
    madvise(block, bytes / kPage * kPage, MADV_HUGEPAGE);
    return static_cast<T*>(block);
  }
  void deallocate(T* block, size_t count) {
    if (count * sizeof(T) < kPage) return std::allocator<T>().deallocate(block, count);
    std::free(block);
  }
#else
  T* allocate(size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* block, size_t count) { std::allocator<T>().deallocate(block, count); }
#endif

 private:
  static constexpr size_t kPage = size_t{2} << 20;
};

template <typename T>
using HugeVector = std::vector<T, HugePages<T>>;

}  // namespace treadle
