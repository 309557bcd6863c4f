// Bias and penalties, in place, one named token a thread: x + bias, over or times the repetition
// factor, less frequency · count and presence. Only encoded where a draw has any.
// An entry is 4 words: draw, id, bias (float32), count << 1 | penalised; penalties are 3 a draw.
//#use draw

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
  if (at.x >= entries[0]) { return; }
  let e = 4u + at.x * 4u;
  let i = entries[e];
  let to = draw_of(i).row * VOCAB + entries[e + 1u];
  var z = logits[to] + bitcast<f32>(entries[e + 2u]);
  let count = entries[e + 3u] >> 1u;
  if ((entries[e + 3u] & 1u) == 1u) {
    let repetition = bitcast<f32>(penalties[i * 4u]);
    z = select(z * repetition, z / repetition, z > 0.0);
    z -= bitcast<f32>(penalties[i * 4u + 1u]) * f32(count)
       + select(0.0, bitcast<f32>(penalties[i * 4u + 2u]), count > 0u);
  }
  logits[to] = z;
}
