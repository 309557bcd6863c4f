fn weight_f32(at: u32, i: u32) -> f32 { return bitcast<f32>(w[(at >> 2u) + i]); }

fn quad_f32(i: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(w[i], w[i + 1u], w[i + 2u], w[i + 3u]));
}

/// at: byte where the row starts; b: which 32 weights of it.
fn block_f32(at: u32, b: u32) -> Block {
  let i = (at >> 2u) + b * 32u;
  return Block(
    mat4x4<real>(quad_f32(i), quad_f32(i + 4u), quad_f32(i + 8u), quad_f32(i + 12u)),
    mat4x4<real>(quad_f32(i + 16u), quad_f32(i + 20u), quad_f32(i + 24u), quad_f32(i + 28u)));
}
