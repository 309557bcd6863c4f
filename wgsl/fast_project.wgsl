// linear, rmsnorm_linear, linear_add and take_norm_linear of tier T2: see lib/fast_rows.
//#use fast_rows

//#if TWO
const EACH: u32 = 2u;

fn rows_of(first: u32) -> Rows { return min(Rows(first, first + 1u), Rows(ROWS - 1u)); }
//#else
const EACH: u32 = 4u;

fn rows_of(first: u32) -> Rows {
  return min(Rows(first, first + 1u, first + 2u, first + 3u), Rows(ROWS - 1u));
}
//#end

/// Bias and residual of the rows.
fn added(t: u32, first: u32) -> Sums {
  var sum = Sums();
  let i = rows_of(first) + Rows(FIRST);
  let j = i + Rows(t * STRIDE);
//#if TWO
//#if b
  sum += Sums(b[i.x], b[i.y]);
//#end
//#if y
  sum += Sums(y[j.x], y[j.y]);
//#end
//#else
//#if b
  sum += Sums(b[i.x], b[i.y], b[i.z], b[i.w]);
//#end
//#if y
  sum += Sums(y[j.x], y[j.y], y[j.z], y[j.w]);
//#end
//#end
  return sum;
}

fn store(t: u32, row: u32, value: f32) {
  if (row >= ROWS) { return; }
  var v = value;
//#if CAP
  v = CAP * (1.0 - 2.0 / (exp(2.0 * v / CAP) + 1.0));
//#end
  out[t * STRIDE + FIRST + row] = v;
//#if PACK
  made[row - begun] = v;
//#end
}

fn emit(t: u32, first: u32, sum: Sums) {
  store(t, first, sum.x);
  store(t, first + 1u, sum.y);
//#if TWO
//#else
  store(t, first + 2u, sum.z);
  store(t, first + 3u, sum.w);
//#end
}

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
//#if rows
  all_rows(group.y, batch[run.rows + group.y], group.x, local, subgroup, groups);
//#else
  all_rows(group.y, group.y, group.x, local, subgroup, groups);
//#end
//#if PACK
  pack(group.y, local, by);
//#end
}
