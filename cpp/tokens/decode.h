// Token strings as tokenisers store them, turned into the bytes that they stand for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "support/result.h"

namespace treadle {

enum class PieceKind : uint8_t {
  raw,            // the UTF-8 text itself
  byte_level,     // GPT-2: every byte is written as a printable character
  byte_fallback,  // SentencePiece: U+2581 is a space, <0xNN> one byte
};

Result<PieceKind> piece_kind(std::string_view name);  // "raw", "byte_level", "byte_fallback"

// The bytes of one piece. A piece of another alphabet (an added token in a byte-level vocabulary)
// stands for its own text. `is_byte` tells whether it was one <0xNN> piece.
std::string decode_piece(std::string_view piece, PieceKind kind, bool& is_byte);

}  // namespace treadle
