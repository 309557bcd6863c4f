// The escapes of a JSON string (RFC 8259, section 7): one table for those who read, write or
// derive them.
#pragma once

#include <cstdint>
#include <string_view>

namespace treadle::json_escape {

// The letter behind a backslash and, at the same place, the character that it stands for.
inline constexpr std::string_view kNames = "\"\\/bfnrt";
inline constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";

// 0 to 15; -1 for what is no hexadecimal digit.
constexpr int hex_value(uint8_t byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  const int lower = byte | 0x20;
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The code point that two \u escapes spell together.
constexpr uint32_t join(uint32_t high, uint32_t low) {
  return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

}  // namespace treadle::json_escape
