// rmsnorm_gate_up_glu of tier T2: one or two outputs a subgroup, from two rows each; see lib/fast_rows.
//#use fast_rows

//#if TWO
const EACH: u32 = 1u;

fn rows_of(first: u32) -> Rows {
  let a = min(first, ROWS - 1u);
  return Rows(a, ROWS + a);
}
//#else
const EACH: u32 = 2u;

fn rows_of(first: u32) -> Rows {
  let a = min(first, ROWS - 1u);
  let b = min(first + 1u, ROWS - 1u);
  return Rows(a, b, ROWS + a, ROWS + b);
}
//#end

fn added(t: u32, first: u32) -> Sums { return Sums(); }

fn act(v: f32) -> f32 {
//#if SILU
  return v / (1.0 + exp(-v));
//#else
  let z = 0.7978845608028654 * (v + 0.044715 * v * v * v);
  return v / (1.0 + exp(-2.0 * z));
//#end
}

//#if PACK
fn emit(t: u32, first: u32, sum: Sums) {
  let i = first - begun;
//#if TWO
  made[i] = act(sum.x) * sum.y;
//#else
  made[i] = act(sum.x) * sum.z;
  made[i + 1u] = act(sum.y) * sum.w; // PACK is even
//#end
}
//#else
fn emit(t: u32, first: u32, sum: Sums) {
  let at = t * STRIDE + FIRST + first;
//#if TWO
  out[at] = act(sum.x) * sum.y;
//#else
  out[at] = act(sum.x) * sum.z;
  if (first + 1u < ROWS) { out[at + 1u] = act(sum.y) * sum.w; }
//#end
}
//#end

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) own: u32, @builtin(subgroup_size) size: u32,
  @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) groups: u32
) {
  lane = own;
  lanes = size;
//#if PACK
  begun = group.x * PACK;
  let by = factors(local);
//#end
  all_rows(group.y, group.y, group.x, local, subgroup, groups);
//#if PACK
  pack(group.y, local, by);
//#end
}
