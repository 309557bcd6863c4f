// One new token of each sequence: head norms, rotation, KV write and attention in one dispatch.
// A workgroup does GROUP query heads of one KV head; the new key and value come from workgroup
// memory, rounded as the page holds them, so nothing is read that another workgroup writes.

var<workgroup> heads: array<f32, (GROUP + 1u) * HEAD>; // queries, then the key
var<workgroup> value: array<f32, HEAD>;
var<workgroup> factors: array<f32, GROUP + 1u>;
//#use heads

fn own_score(h: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < HEAD; i++) { sum += heads[h * HEAD + i] * heads[GROUP * HEAD + i]; }
  return sum;
}

fn own_value(e: u32) -> vec2<f32> { return vec2<f32>(value[2u * e], value[2u * e + 1u]); }
//#use softmax

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32
) {
  let s = group.y;
  let query = group.x * GROUP;
  let kv_head = query / (HEADS / KV_HEADS);
  let start = s * (HEADS + 2u * KV_HEADS) * HEAD;
  for (var i = lane; i < GROUP * HEAD; i += WG) { heads[i] = qkv[start + query * HEAD + i]; }
  for (var i = lane; i < HEAD; i += WG) {
    heads[GROUP * HEAD + i] = qkv[start + (HEADS + kv_head) * HEAD + i];
    value[i] = qkv[start + (HEADS + KV_HEADS + kv_head) * HEAD + i];
  }
  workgroupBarrier();
//#if q_norm
  for (var h = lane; h < GROUP; h += WG) { factors[h] = head_scale(h * HEAD, EPS); }
//#end
//#if k_norm
  if (lane == WG - 1u) { factors[GROUP] = head_scale(GROUP * HEAD, EPS); }
//#end
  workgroupBarrier();
//#if q_norm
  for (var i = lane; i < GROUP * HEAD; i += WG) { heads[i] *= factors[i / HEAD] * q_norm[i % HEAD]; }
//#end
//#if k_norm
  for (var i = lane; i < HEAD; i += WG) { heads[GROUP * HEAD + i] *= factors[GROUP] * k_norm[i]; }
//#end
  workgroupBarrier();
  let position = f32(bitcast<i32>(batch[run.pos + s]));
  for (var i = lane; i < (GROUP + 1u) * ROTARY; i += WG) {
    turn_pair((i / ROTARY) * HEAD, i % ROTARY, position);
  }
  workgroupBarrier();
  let slot = batch[run.slots + s];
  let key_word = kv_word(slot / PAGE, slot % PAGE, 0u, kv_head);
  let value_word = kv_word(slot / PAGE, slot % PAGE, 1u, kv_head);
  for (var i = lane; i < GROUP * HEAD; i += WG) { heads[i] *= SCALE; }
  for (var i = lane; i < HEAD / 2u; i += WG) {
    let at = GROUP * HEAD + 2u * i;
    let k = pack2x16float(vec2<f32>(heads[at], heads[at + 1u]));
    let v = pack2x16float(vec2<f32>(value[2u * i], value[2u * i + 1u]));
    if (query % (HEADS / KV_HEADS) == 0u) { // one of those that share the KV head
      kv[key_word + i] = k;
      kv[value_word + i] = v;
    }
    let kept = unpack2x16float(k);
    heads[at] = kept.x;
    heads[at + 1u] = kept.y;
    let held = unpack2x16float(v);
    value[2u * i] = held.x;
    value[2u * i + 1u] = held.y;
  }
  workgroupBarrier();
  let length = batch[run.lens + s];
  attend(s, kv_head, first_key(length - 1u), length, length, lane);
  for (var i = lane; i < GROUP * HEAD; i += WG) {
    out[s * HEADS * HEAD + query * HEAD + i] = mixed[i] / mass[i / HEAD];
  }
}
