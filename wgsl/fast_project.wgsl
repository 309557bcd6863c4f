// linear, rmsnorm_linear, linear_add and take_norm_linear of tier T2: see lib/fast_rows.
//#use fast_rows

const EACH: u32 = 4u;

fn rows_of(first: u32) -> vec4<u32> {
  return min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(ROWS - 1u));
}

fn store(t: u32, row: u32, value: f32) {
  if (row >= ROWS) { return; }
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

fn emit(t: u32, first: u32, sum: vec4<f32>) {
  store(t, first, sum.x);
  store(t, first + 1u, sum.y);
  store(t, first + 2u, sum.z);
  store(t, first + 3u, sum.w);
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
  all_rows(group.y, batch[run.rows + group.y], group.x, local, subgroup, groups);
//#else
  all_rows(group.y, group.y, group.x, local, subgroup, groups);
//#end
}
