#include "support/utf8.h"

namespace treadle {

size_t read_utf8(std::string_view text, size_t at, uint32_t& c) {
  if (at >= text.size()) return 0;
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[at + i]); };
  uint8_t lead = byte(0);
  if (lead < 0x80) {
    c = lead;
    return 1;
  }
  if (lead < 0xC2 || lead > 0xF4) return 0;
  size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() - at < size) return 0;
  uint32_t value = lead & (0x7Fu >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    value = (value << 6) | (byte(i) & 0x3Fu);
  }
  constexpr uint32_t kShorter[] = {0x7F, 0x7FF, 0xFFFF};  // last value of each shorter form
  bool overlong = value <= kShorter[size - 2];
  if (overlong || is_surrogate(value) || value > 0x10FFFF) return 0;
  c = value;
  return size;
}

}  // namespace treadle
