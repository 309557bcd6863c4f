/// 144 bytes hold 256 weights: two float16 factors, eight 6-bit scales and minima in 12 bytes, and
/// nibbles of which 32 bytes hold two groups of 32, the second one in the high halves.
fn block_q4_k(at: u32, b: u32) -> Block {
  let start = at + (b >> 3u) * 144u;
  let g = b & 7u;
  let factors = unpack2x16float(w[start >> 2u]);
  var scale: u32;
  var least: u32;
  if (g < 4u) {
    scale = byte_at(start + 4u + g) & 63u;
    least = byte_at(start + 8u + g) & 63u;
  } else {
    let rest = byte_at(start + 8u + g);
    scale = (rest & 15u) | ((byte_at(start + g) >> 6u) << 4u);
    least = (rest >> 4u) | ((byte_at(start + 4u + g) >> 6u) << 4u);
  }
  let d = real(factors.x * f32(scale));
  let m = vec4<real>(real(-factors.y * f32(least)));
  let i = (start >> 2u) + 4u + (g >> 1u) * 8u;
  let up = vec4<u32>((g & 1u) * 4u);
  let p = vec4<u32>(w[i], w[i + 1u], w[i + 2u], w[i + 3u]) >> up;
  let h = vec4<u32>(w[i + 4u], w[i + 5u], w[i + 6u], w[i + 7u]) >> up;
  return Block(
    mat4x4<real>(nibbles(p.x) * d + m, nibbles(p.y) * d + m, nibbles(p.z) * d + m, nibbles(p.w) * d + m),
    mat4x4<real>(nibbles(h.x) * d + m, nibbles(h.y) * d + m, nibbles(h.z) * d + m, nibbles(h.w) * d + m));
}
