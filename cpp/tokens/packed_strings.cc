#include "tokens/packed_strings.h"

#include "support/utf8.h"

namespace treadle {

namespace {

constexpr size_t length_bytes = 8;

// Little-endian whatever the machine is.
uint64_t read_length(std::string_view data, size_t at) {
  uint64_t out = 0;
  for (size_t i = length_bytes; i-- > 0;) out = out << 8 | static_cast<uint8_t>(data[at + i]);
  return out;
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    uint32_t c = 0;
    const size_t length = static_cast<uint8_t>(text[at]) < 0x80 ? 1 : read_utf8(text, at, c);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

}  // namespace

std::optional<size_t> packed_strings_end(std::string_view data, size_t at, size_t count,
                                         size_t most) {
  if (at > data.size()) return std::nullopt;
  for (; count > 0; --count) {
    if (data.size() - at < length_bytes) return std::nullopt;
    const uint64_t length = read_length(data, at);
    at += length_bytes;
    if (length > most || length > data.size() - at) return std::nullopt;
    const auto size = static_cast<size_t>(length);
    if (!is_utf8(data.substr(at, size))) return std::nullopt;
    at += size;
  }
  return at;
}

}  // namespace treadle
