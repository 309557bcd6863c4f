// linear, rmsnorm_linear, linear_add and take_norm_linear of tier T2: see lib/fast_rows.
//#use fast_rows

const MADE: u32 = 4u * QUADS; // outputs of a workgroup

fn rows_of(quad: u32) -> Rows {
  return min(vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u), Rows(ROWS - 1u));
}

/// Bias and residual of a row.
fn added(t: u32, row: u32) -> f32 {
  var sum = 0.0;
  let i = min(row, ROWS - 1u) + FIRST;
//#if b
  sum += b[i];
//#end
//#if y
  sum += y[t * STRIDE + i];
//#end
  return sum;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let t = group.y;
//#if PACK
  let by = factors(group.x, local);
//#end
  let row = group.x * MADE + local; // a workgroup has no more outputs than threads
  let other = added(t, row);
//#if rows
  let scale = all_rows(batch[run.rows + t], group.x, local);
//#else
  let scale = all_rows(t, group.x, local);
//#end
  if (local < MADE && row < ROWS) {
    var v = sum_of(local) * scale + other;
//#if CAP
    v = CAP * (1.0 - 2.0 / (exp(2.0 * v / CAP) + 1.0));
//#end
    out[t * STRIDE + FIRST + row] = v;
//#if PACK
    made[local] = v;
//#end
  }
//#if PACK
  pack(t, group.x, local, by);
//#end
}
