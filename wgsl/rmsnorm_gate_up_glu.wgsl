// out = act(g) · u with g, u = rmsnorm(x) · wgᵀ, rmsnorm(x) · wuᵀ: both rows of an output in one
// thread. Rows 0..F-1 of the weights are the gate's, F..2F-1 the other's. Without `norm`: of x.
//#use rows

fn act(v: f32) -> f32 {
//#if SILU
  return v / (1.0 + exp(-v));
//#else
  // The tanh form of gelu, as v · sigmoid(2 z).
  let z = 0.7978845608028654 * (v + 0.044715 * v * v * v);
  return v / (1.0 + exp(-2.0 * z));
//#end
}

fn store(t: u32, row: u32, g: f32, u: f32) {
  out[t * STRIDE + FIRST + row] = act(g) * u;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//#if MANY
  let first = group.y * 4u;
//#else
  let first = group.y;
//#end
  choose(first, run.T);
  let row = group.x * WG + lane;
  let held = min(row, ROWS - 1u);
  let scale = prepare(lane);
  let g = scale * row_dot(held);
  let u = scale * row_dot(ROWS + held);
  if (row >= ROWS) { return; }
//#if MANY
  store(first, row, g.x, u.x);
  if (first + 1u < run.T) { store(first + 1u, row, g.y, u.y); }
  if (first + 2u < run.T) { store(first + 2u, row, g.z, u.z); }
  if (first + 3u < run.T) { store(first + 3u, row, g.w, u.w); }
//#else
  store(first, row, g, u);
//#end
}
