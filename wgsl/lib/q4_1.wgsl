/// 20 bytes: scale, minimum, 16 bytes whose low nibbles are weights 0..15 and high ones 16..31.
fn block_q4_1(at: u32, b: u32) -> Block {
  let i = (at >> 2u) + b * 5u;
  let dm = unpack2x16float(w[i]);
  let d = real(dm.x);
  let m = vec4<real>(real(dm.y));
  let p = vec4<u32>(w[i + 1u], w[i + 2u], w[i + 3u], w[i + 4u]);
  let h = p >> vec4<u32>(4u);
  return Block(
    mat4x4<real>(nibbles(p.x) * d + m, nibbles(p.y) * d + m, nibbles(p.z) * d + m, nibbles(p.w) * d + m),
    mat4x4<real>(nibbles(h.x) * d + m, nibbles(h.y) * d + m, nibbles(h.z) * d + m, nibbles(h.w) * d + m));
}
