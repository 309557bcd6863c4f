// linear, rmsnorm_linear, linear_add and take_norm_linear of tier T2: see lib/fast_rows.
//#use fast_rows

fn store(t: u32, row: u32, value: f32) {
  let at = t * STRIDE + FIRST + row;
  var v = value;
//#if b
  v += b[FIRST + row];
//#end
//#if y
  v += y[at];
//#end
//#if CAP
  v = CAP * (1.0 - 2.0 / (exp(2.0 * v / CAP) + 1.0));
//#end
  out[at] = v;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) own: u32, @builtin(subgroup_size) size: u32,
  @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) groups: u32
) {
  lane = own;
  lanes = size;
//#if rows
  stage(batch[run.rows + group.y], local, subgroup, groups);
//#else
  stage(group.y, local, subgroup, groups);
//#end
  for (var first = (group.x * groups + subgroup) * 4u; first < ROWS; first += TURN * groups * 4u) {
    let rows = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(ROWS - 1u));
    let sum = four_rows(rows);
    if (lane == 0u) {
      store(group.y, first, sum.x);
      if (first + 1u < ROWS) { store(group.y, first + 1u, sum.y); }
      if (first + 2u < ROWS) { store(group.y, first + 2u, sum.z); }
      if (first + 3u < ROWS) { store(group.y, first + 3u, sum.w); }
    }
  }
}
