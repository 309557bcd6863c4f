fn weight_f16(at: u32, i: u32) -> f32 { return half_at(at + 2u * i); }

fn quad_f16(i: u32) -> vec4<real> {
  return vec4<real>(vec4<f32>(unpack2x16float(w[i]), unpack2x16float(w[i + 1u])));
}

/// at: byte where the row starts, a multiple of 4; b: which 32 weights of it.
fn block_f16(at: u32, b: u32) -> Block {
  let i = (at >> 2u) + b * 16u;
  return Block(
    mat4x4<real>(quad_f16(i), quad_f16(i + 2u), quad_f16(i + 4u), quad_f16(i + 6u)),
    mat4x4<real>(quad_f16(i + 8u), quad_f16(i + 10u), quad_f16(i + 12u), quad_f16(i + 14u)));
}
