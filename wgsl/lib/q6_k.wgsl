fn six_q6_k(low: u32, high: u32, shift: vec2<u32>) -> vec4<real> {
  let four = (low >> shift.x) & 0x0f0f0f0fu;
  let two = (high >> shift.y) & 0x03030303u;
  return bytes(four | (two << 4u)) - vec4<real>(32.0);
}

/// 210 bytes hold 256 weights: low nibbles (128 bytes), two high bits (64 bytes), sixteen signed
/// scales, one float16 factor. Group g of 32 lies in plane g & 3 of half g >> 2.
fn block_q6_k(at: u32, b: u32) -> Block {
  let start = at + (b >> 3u) * 210u;
  let g = b & 7u;
  let plane = g & 3u;
  let low = start + (g >> 2u) * 64u + (plane & 1u) * 32u;
  let high = start + 128u + (g >> 2u) * 32u;
  let shift = vec2<u32>((plane >> 1u) * 4u, plane * 2u);
  let factor = half_at(start + 208u);
  let scales = word(start + 192u + 2u * g);
  let d = real(factor * f32(bitcast<i32>(scales << 24u) >> 24u));
  let e = real(factor * f32(bitcast<i32>(scales << 16u) >> 24u));
  return Block(
    mat4x4<real>(six_q6_k(word(low), word(high), shift) * d,
                six_q6_k(word(low + 4u), word(high + 4u), shift) * d,
                six_q6_k(word(low + 8u), word(high + 8u), shift) * d,
                six_q6_k(word(low + 12u), word(high + 12u), shift) * d),
    mat4x4<real>(six_q6_k(word(low + 16u), word(high + 16u), shift) * e,
                six_q6_k(word(low + 20u), word(high + 20u), shift) * e,
                six_q6_k(word(low + 24u), word(high + 24u), shift) * e,
                six_q6_k(word(low + 28u), word(high + 28u), shift) * e));
}
