/// 32 weights of a q4_0 or q4_1 matrix in planes: `w` holds the quants of a block as the file has
/// them, `scales` in a word the float16 scales of a block of two rows, with MINIMUM scale and minimum.
fn block(row: u32, b: u32) -> Block {
  let i = row * BLOCKS + b;
  let p = w[i];
  let h = p >> vec4<u32>(4u);
//#if MINIMUM
  let dm = unpack2x16float(scales[i]);
  let d = real(dm.x);
  let m = vec4<real>(real(dm.y));
//#else
  let d = real(unpack2x16float(scales[(row >> 1u) * BLOCKS + b] >> ((row & 1u) * 16u)).x);
  let m = vec4<real>(real(-8.0) * d);
//#end
  return Block(
    mat4x4<real>(nibbles(p.x) * d + m, nibbles(p.y) * d + m, nibbles(p.z) * d + m, nibbles(p.w) * d + m),
    mat4x4<real>(nibbles(h.x) * d + m, nibbles(h.y) * d + m, nibbles(h.z) * d + m, nibbles(h.w) * d + m));
}
