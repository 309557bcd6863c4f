#include "tokens/decode.h"

#include <array>

#include "support/chars.h"

namespace treadle {

namespace {

// GPT-2 writes the printable bytes of Latin-1 as themselves and the others, in order, as the code
// points from U+0100 on. Source: encoder.py of openai/gpt-2 (bytes_to_unicode).
constexpr uint32_t kShifted = 0x100;

constexpr bool printable(uint32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<int16_t, 0x144> kByteOfCodePoint = [] {
  std::array<int16_t, 0x144> table{};
  for (int16_t& entry : table) entry = -1;
  uint32_t next = kShifted;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    table[printable(byte) ? byte : next++] = static_cast<int16_t>(byte);
  }
  return table;
}();

std::string decode_byte_level(std::string_view piece) {
  std::string out;
  for (size_t i = 0; i < piece.size();) {
    auto lead = static_cast<uint8_t>(piece[i]);
    uint32_t c = lead;
    size_t length = 1;
    if (lead >= 0xC2 && lead <= 0xC5 && i + 1 < piece.size()) {  // all we need is below U+0144
      c = (lead & 0x1Fu) << 6 | (static_cast<uint8_t>(piece[i + 1]) & 0x3Fu);
      length = 2;
    } else if (lead >= 0x80) {
      return std::string(piece);
    }
    if (c >= kByteOfCodePoint.size() || kByteOfCodePoint[c] < 0) return std::string(piece);
    out += static_cast<char>(kByteOfCodePoint[c]);
    i += length;
  }
  return out;
}

std::string decode_fallback(std::string_view piece, bool& is_byte) {
  if (piece.size() == 6 && piece.substr(0, 3) == "<0x" && piece[5] == '>') {
    int high = hex_value(static_cast<uint8_t>(piece[3]));
    int low = hex_value(static_cast<uint8_t>(piece[4]));
    if (high >= 0 && low >= 0) {
      is_byte = true;
      return std::string(1, static_cast<char>(high * 16 + low));
    }
  }
  constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581
  std::string out;
  for (size_t i = 0; i < piece.size();) {
    bool space = piece.substr(i, kSpace.size()) == kSpace;
    out += space ? ' ' : piece[i];
    i += space ? kSpace.size() : 1;
  }
  return out;
}

}  // namespace

Result<PieceKind> piece_kind(std::string_view name) {
  if (name == "raw") return PieceKind::raw;
  if (name == "byte_level") return PieceKind::byte_level;
  if (name == "byte_fallback") return PieceKind::byte_fallback;
  return invalid_request("kind", "\"" + std::string(name) +
                                     "\" is no vocabulary kind; use raw, byte_level or "
                                     "byte_fallback");
}

std::string decode_piece(std::string_view piece, PieceKind kind, bool& is_byte) {
  is_byte = false;
  switch (kind) {
    case PieceKind::raw:
      break;
    case PieceKind::byte_level:
      return decode_byte_level(piece);
    case PieceKind::byte_fallback:
      return decode_fallback(piece, is_byte);
  }
  return std::string(piece);
}

}  // namespace treadle
