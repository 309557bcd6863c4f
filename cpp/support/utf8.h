// UTF-8, one scalar value at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace treadle {

inline bool is_surrogate(uint32_t c) {
  return c >= 0xD800 && c <= 0xDFFF;
}

// Reads one scalar value at text[at], returning its length in bytes (1 to 4), or 0 when the bytes
// there are not valid UTF-8 (truncated, overlong, surrogate, out of range).
size_t read_utf8(std::string_view text, size_t at, uint32_t& c);

}  // namespace treadle
