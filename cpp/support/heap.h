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

}  // namespace treadle
