// One output row a thread: the body of every projection. Which operands there are (norm, b, y,
// rows) is said by the operation; FIRST is the first row of a matrix cut to fit a binding.
//#use rows

//#if y
fn residual(at: u32) -> f32 { return y[at]; }
//#end

fn store(t: u32, row: u32, value: f32) {
  let at = t * STRIDE + FIRST + row;
//#if y
//#if b
  out[at] = value + b[FIRST + row] + residual(at);
//#else
  out[at] = value + residual(at);
//#end
//#else
//#if b
  out[at] = value + b[FIRST + row];
//#else
//#if CAP
  out[at] = CAP * (1.0 - 2.0 / (exp(2.0 * value / CAP) + 1.0));
//#else
  out[at] = value;
//#end
//#end
//#end
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//#if rows
  let count = run.R;
//#else
  let count = run.T;
//#end
//#if MANY
  let first = group.y * 4u;
//#else
  let first = group.y;
//#end
  choose(first, count);
  let row = group.x * WG + lane;
  let scale = prepare(lane);
  let sum = scale * row_dot(min(row, ROWS - 1u));
  if (row >= ROWS) { return; }
//#if MANY
  store(first, row, sum.x);
  if (first + 1u < count) { store(first + 1u, row, sum.y); }
  if (first + 2u < count) { store(first + 2u, row, sum.z); }
  if (first + 3u < count) { store(first + 3u, row, sum.w); }
//#else
  store(first, row, sum);
//#end
}
