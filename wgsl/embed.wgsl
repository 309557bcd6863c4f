// out[t] = table[ids[t]] · BY. An id of -1-j is row j of the last draw; FIRST: see lib/project.

fn id_of(t: u32) -> u32 {
  let id = bitcast<i32>(batch[run.ids + t]);
  if (id >= 0) { return u32(id); }
  return u32(max(drawn[u32(-1 - id)], 0));
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) at: vec3<u32>) {
  let t = at.x / UNITS;
  let b = at.x % UNITS;
  if (t >= run.T) { return; }
  let row = id_of(t) - FIRST; // wraps where another part of the table holds the row
  if (row >= ROWS) { return; }
//#if QUADS
  let k = block(row, b);
  let i = t * WIDTH + b * 8u;
  out[i] = k.lo[0] * BY;
  out[i + 1u] = k.lo[1] * BY;
  out[i + 2u] = k.lo[2] * BY;
  out[i + 3u] = k.lo[3] * BY;
  out[i + 4u] = k.hi[0] * BY;
  out[i + 5u] = k.hi[1] * BY;
  out[i + 6u] = k.hi[2] * BY;
  out[i + 7u] = k.hi[3] * BY;
//#else
  out[t * WIDTH + b] = weight(row, b) * BY;
//#end
}
