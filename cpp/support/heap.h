// Memory that was freed goes back to the system.
#pragma once

#include <cstddef>  // says which C library this is

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace treadle {

// The allocator keeps what is freed between blocks in use, so that a process stays as large as it
// ever was. Takes milliseconds for each hundred MiB: for places that are reached seldom.
inline void give_back_heap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

// For a process whose threads seldom allocate at once: one heap for all of them, large blocks
// apart, and little that is free stays. As it is, each thread may keep as much as its largest
// block.
inline void keep_heap_small() {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 64 << 10);
  mallopt(M_TRIM_THRESHOLD, 64 << 10);
  mallopt(M_TOP_PAD, 4 << 10);
#endif
}

}  // namespace treadle
