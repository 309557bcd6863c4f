// rmsnorm_gate_up_glu of tier T2: a quad is two outputs' rows of the gate and of up; see lib/fast_rows.
//#use fast_rows

const MADE: u32 = 2u * QUADS; // outputs of a workgroup

fn rows_of(quad: u32) -> Rows {
  let a = min(2u * quad, ROWS - 1u);
  let b = min(2u * quad + 1u, ROWS - 1u);
  return Rows(a, b, ROWS + a, ROWS + b);
}

fn act(v: f32) -> f32 {
//#if SILU
  return v / (1.0 + exp(-v));
//#else
  let z = 0.7978845608028654 * (v + 0.044715 * v * v * v);
  return v / (1.0 + exp(-2.0 * z));
//#end
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = group.y;
//#if PACK
  let by = factors(group.x, local);
//#end
  let row = group.x * MADE + local; // a workgroup has no more outputs than threads
  let scale = all_rows(t, group.x, local);
  if (local < MADE && row < ROWS) {
    let gate = local / 2u * 4u + local % 2u;
    let v = act(sum_of(gate) * scale) * (sum_of(gate + 2u) * scale);
//#if PACK
    made[local] = v;
//#else
    out[t * STRIDE + FIRST + row] = v;
//#end
  }
//#if PACK
  pack(t, group.x, local, by);
//#end
}
