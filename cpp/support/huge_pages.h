// Memory in large pages for tables that are read at random, where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
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
  // Straight from the system: malloc would keep such blocks in its heap once one was freed.
  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    if (bytes < kPage) return std::allocator<T>().allocate(count);
    const size_t all = mapped(bytes) + kPage;
    void* found = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED) std::abort();  // as operator new does without exceptions
    char* const from = static_cast<char*>(found);
    const size_t before = (kPage - reinterpret_cast<uintptr_t>(from) % kPage) % kPage;
    if (before > 0) munmap(from, before);
    munmap(from + before + mapped(bytes), kPage - before);
    madvise(from + before, bytes / kPage * kPage, MADV_HUGEPAGE);
    return reinterpret_cast<T*>(from + before);
  }
  void deallocate(T* block, size_t count) {
    if (count * sizeof(T) < kPage) return std::allocator<T>().deallocate(block, count);
    munmap(block, mapped(count * sizeof(T)));
  }
#else
  T* allocate(size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* block, size_t count) { std::allocator<T>().deallocate(block, count); }
#endif

 private:
  static constexpr size_t kPage = size_t{2} << 20;
  static size_t mapped(size_t bytes) {
    constexpr size_t kSmall = 64 << 10;  // the largest small page of any machine
    return (bytes + kSmall - 1) / kSmall * kSmall;
  }
};

template <typename T>
using HugeVector = std::vector<T, HugePages<T>>;

}  // namespace treadle
