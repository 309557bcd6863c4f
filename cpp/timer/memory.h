// Bytes between measurements: out of the caches, copied, compared, hashed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace treadle {

// Writes the lines back and drops them from every cache of the machine. False where the processor
// has no such instruction; then nothing happened.
bool flush_lines(const void* data, size_t size);

// A hash for comparing two states of one buffer within a process, not for storage.
uint64_t digest(const void* data, size_t size);

// Bytes that differ.
size_t differing(const void* first, const void* second, size_t size);

}  // namespace treadle
