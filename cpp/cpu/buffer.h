// Memory for packed weights and KV pages.
#pragma once

#include <cstddef>
#include <cstdint>

namespace treadle::cpu {

// Bytes that begin on a page, in large pages where the system grants them: a stream of weights
// then crosses fewer page ends, at which the hardware's prefetch stops. The first `small` bytes are
// left to small pages, where little use is to take little memory. Contents are undefined. Null if
// there is no memory.
uint8_t* take_buffer(size_t bytes, size_t small = 0);
void give_buffer(uint8_t* buffer);

}  // namespace treadle::cpu
