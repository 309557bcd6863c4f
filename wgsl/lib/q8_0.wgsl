/// 34 bytes: scale, 32 signed bytes.
fn block_q8_0(at: u32, b: u32) -> Block {
  let i = at + b * 34u;
  let d = real(half_at(i));
  return Block(
    mat4x4<real>(signed_bytes(word(i + 2u)) * d, signed_bytes(word(i + 6u)) * d,
                signed_bytes(word(i + 10u)) * d, signed_bytes(word(i + 14u)) * d),
    mat4x4<real>(signed_bytes(word(i + 18u)) * d, signed_bytes(word(i + 22u)) * d,
                signed_bytes(word(i + 26u)) * d, signed_bytes(word(i + 30u)) * d));
}
