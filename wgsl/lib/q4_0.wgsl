/// 18 bytes: scale, 16 bytes whose low nibbles are weights 0..15 and high ones 16..31.
fn block_q4_0(at: u32, b: u32) -> Block {
  let i = at + b * 18u;
  let d = real(half_at(i));
  let m = vec4<real>(real(-8.0) * d);
  let p = vec4<u32>(word(i + 2u), word(i + 6u), word(i + 10u), word(i + 14u));
  let h = p >> vec4<u32>(4u);
  return Block(
    mat4x4<real>(nibbles(p.x) * d + m, nibbles(p.y) * d + m, nibbles(p.z) * d + m, nibbles(p.w) * d + m),
    mat4x4<real>(nibbles(h.x) * d + m, nibbles(h.y) * d + m, nibbles(h.z) * d + m, nibbles(h.w) * d + m));
}
