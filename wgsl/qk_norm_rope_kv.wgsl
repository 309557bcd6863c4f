// Head norms, rotation and KV write of any tokens, one head vector a workgroup. Queries go to `out`.

var<workgroup> heads: array<f32, HEAD>;
var<workgroup> factor: f32;
//#use heads

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.y;
  let head = group.x; // of HEADS queries, KV_HEADS keys, KV_HEADS values
  let start = (t * (HEADS + 2u * KV_HEADS) + head) * HEAD;
  for (var i = lane; i < HEAD; i += WG) { heads[i] = qkv[start + i]; }
  workgroupBarrier();
  if (lane == 0u) { factor = head_scale(0u, EPS); }
  workgroupBarrier();
//#if q_norm
  if (head < HEADS) {
    for (var i = lane; i < HEAD; i += WG) { heads[i] *= factor * q_norm[i]; }
  }
//#end
//#if k_norm
  if (head >= HEADS && head < HEADS + KV_HEADS) {
    for (var i = lane; i < HEAD; i += WG) { heads[i] *= factor * k_norm[i]; }
  }
//#end
  workgroupBarrier();
  if (head < HEADS + KV_HEADS) {
    let position = f32(bitcast<i32>(batch[run.pos + t]));
    for (var i = lane; i < ROTARY; i += WG) { turn_pair(0u, i, position); }
  }
  workgroupBarrier();
  if (head < HEADS) {
    for (var i = lane; i < HEAD; i += WG) { out[(t * HEADS + head) * HEAD + i] = heads[i]; }
    return;
  }
  let which = select(0u, 1u, head >= HEADS + KV_HEADS);
  let slot = batch[run.slots + t];
  let at = kv_word(slot / PAGE, slot % PAGE, which, (head - HEADS) % KV_HEADS);
  for (var i = lane; i < HEAD / 2u; i += WG) {
    kv[at + i] = pack2x16float(vec2<f32>(heads[2u * i], heads[2u * i + 1u]));
  }
}
