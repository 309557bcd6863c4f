// The escapes of a JSON string (RFC 8259, section 7): one table for those who read, write or
// derive them.
#pragma once

#include <cstdint>
#include <string_view>

namespace treadle::json_escape {

// The letter behind a backslash and, at the same place, the character that it stands for.
inline constexpr std::string_view kNames = "\"\\/bfnrt";
inline constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";

// The code point that two \u escapes spell together.
constexpr uint32_t join(uint32_t high, uint32_t low) {
  return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

}  // namespace treadle::json_escape
