// Attention of any tokens over pages that hold their keys already: GROUP query heads of one token
// a workgroup. A token of no sequence gives zeros.

var<workgroup> heads: array<f32, GROUP * HEAD>;

fn kv_word(page: u32, offset: u32, which: u32, kv_head: u32) -> u32 {
  return (((page * 2u + which) * PAGE + offset) * KV_HEADS + kv_head) * (HEAD / 2u);
}
//#use softmax

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.y;
  let query = group.x * GROUP;
  let kv_head = query / (HEADS / KV_HEADS);
  let to = (t * HEADS + query) * HEAD;
  for (var i = lane; i < GROUP * HEAD; i += WG) { heads[i] = q[to + i] * SCALE; }
  workgroupBarrier();
  var s = 0u;
  while (s < run.S && batch[run.starts + s + 1u] <= t) { s++; }
  if (s == run.S || t < batch[run.starts]) {
    for (var i = lane; i < GROUP * HEAD; i += WG) { out[to + i] = 0.0; }
    return;
  }
  let last = batch[run.lens + s] - (batch[run.starts + s + 1u] - t) + 1u;
  attend(s, kv_head, first_key(last - 1u), last, last, lane);
  for (var i = lane; i < GROUP * HEAD; i += WG) { out[to + i] = mixed[i] / mass[i / HEAD]; }
}
