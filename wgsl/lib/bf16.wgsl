fn weight_bf16(at: u32, i: u32) -> f32 {
  let byte = at + 2u * i;
  return bitcast<f32>((w[byte >> 2u] >> ((byte & 2u) * 8u)) << 16u);
}

fn quad_bf16(i: u32) -> vec4<f32> {
  let a = w[i];
  let b = w[i + 1u];
  return bitcast<vec4<f32>>(vec4<u32>(a << 16u, a & 0xffff0000u, b << 16u, b & 0xffff0000u));
}

/// at: byte where the row starts, a multiple of 4; b: which 32 weights of it.
fn block_bf16(at: u32, b: u32) -> Block {
  let i = (at >> 2u) + b * 16u;
  return Block(
    mat4x4<real>(quad_bf16(i), quad_bf16(i + 2u), quad_bf16(i + 4u), quad_bf16(i + 6u)),
    mat4x4<real>(quad_bf16(i + 8u), quad_bf16(i + 10u), quad_bf16(i + 12u), quad_bf16(i + 14u)));
}
