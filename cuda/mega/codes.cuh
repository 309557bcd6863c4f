// Codes of weights as a tile holds them, to fragments A of bf16, which holds every code exactly,
// and what a group's sum is multiplied by in float32 behind the product: no weight is rounded.
#pragma once

namespace treadle::mega {

struct alignas(8) Codes {
  uint32_t x, y;
};

/// A pair's two fragments, and scales and least values of rows g and g + 8.
struct Taken {
  uint4 w0, w1;
  float scale[2], low[2];
};

/// Eight 4-bit codes less a constant. A code below bits 0x4300 is 128 + code in bf16, and so are
/// the numbers that differ from it by less than 128.
template <int kLess>
TM_DEVICE uint4 four_bits(uint32_t codes) {
  uint32_t r[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    r[i] = merged(codes >> 4 * i, 0x000f000fu, 0x43004300u);
    if constexpr (kLess > 0) r[i] = pair_minus(r[i], (0x4300u + kLess - 128) * 0x00010001u);
  }
  return make_uint4(r[0], r[1], r[2], r[3]);
}

/// Eight e4m3 codes: bytes 0 and 2 of a word are one register, bytes 1 and 3 the next. Their bits
/// moved into a bf16 are the number by 2^-120, subnormal ones too: an exact product mends it.
TM_DEVICE uint4 eight_bits(uint32_t first, uint32_t second) {
  uint32_t r[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t w = (i < 2 ? first : second) << (i % 2 ? 0 : 8);
    r[i] = pair_times(merged(w, 0x80008000u, w >> 4 & 0x07f007f0u), 0x7b807b80u);  // 2^120
  }
  return make_uint4(r[0], r[1], r[2], r[3]);
}

/// What a lane multiplies of a tile's pair.
template <int kForm>
TM_DEVICE Taken take(const unsigned char* tile, int pair, int lane) {
  const unsigned char* block = tile + pair * Form<kForm>::kPair;
  const int g = lane / 4;
  Taken made = {};
  if constexpr (kForm == kEight) {  // four pairs hold their scales, each those of four rows
    const uint4 codes = *reinterpret_cast<const uint4*>(block + lane * 16);
    made.w0 = eight_bits(codes.x, codes.y), made.w1 = eight_bits(codes.z, codes.w);
    const unsigned char* scales =
        tile + (pair / 4 * 4 + g / 4) * Form<kForm>::kPair + 512 + g % 4 * 4;
    made.scale[0] = *reinterpret_cast<const float*>(scales);
    made.scale[1] = *reinterpret_cast<const float*>(scales + 2 * Form<kForm>::kPair);
  } else {
    constexpr int kLess = kForm == kFourLow ? 0 : 136;
    const Codes codes = *reinterpret_cast<const Codes*>(block + lane * 8);
    made.w0 = four_bits<kLess>(codes.x), made.w1 = four_bits<kLess>(codes.y);
    Codes scales = {};
    if constexpr (kForm == kFourLow)
      scales = *reinterpret_cast<const Codes*>(block + 256 + g * 8);
    else
      scales.x = *reinterpret_cast<const uint32_t*>(block + 256 + g * 4);
    made.scale[0] = half_low(scales.x), made.scale[1] = half_high(scales.x);
    made.low[0] = half_low(scales.y), made.low[1] = half_high(scales.y);
  }
  return made;
}

}  // namespace treadle::mega
