// attention_step of one token on tier T2: a workgroup does GROUP query heads of one KV head over one
// of grid.z shares of the keys; who reads `out` combines the shares. Eight lanes read a key, 16 bytes
// each at a time; values likewise, HEAD / 8 lanes one. In `out`, two float16 a word: SPLITS times
// all heads' vectors, each divided by its mass; then, as float32, maximum and mass of each.

const VECTORS: u32 = HEAD / 8u;     // vec4<u32> of a head's vector
const EACH: u32 = VECTORS / 8u;     // of them a lane, for a key
const KEYS: u32 = WG / 8u;          // keys at a time
const SLOTS: u32 = WG / VECTORS;    // values at a time

var<workgroup> heads: array<f32, (GROUP + 1u) * HEAD>; // queries, then the key
var<workgroup> value: array<f32, HEAD>;
var<workgroup> factors: array<f32, GROUP + 1u>;
var<workgroup> queries: array<vec4<f32>, GROUP * HEAD / 4u>;
var<workgroup> own_key: array<vec4<u32>, VECTORS>;
var<workgroup> own_value: array<vec4<u32>, VECTORS>;
var<workgroup> scores: array<f32, GROUP * SPAN>;
var<workgroup> top: array<f32, GROUP>;
var<workgroup> mass: array<f32, GROUP>;
var<workgroup> shrink: array<f32, GROUP>;
var<workgroup> mixed: array<vec4<f32>, SLOTS * GROUP * HEAD / 8u>; // half of the slots' sums
//#use heads

fn vector_of(s: u32, position: u32, which: u32, kv_head: u32) -> u32 {
  return kv_word(batch[run.table + s * run.L + position / PAGE], position % PAGE, which, kv_head) / 4u;
}

fn first_four(v: vec4<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)); }
fn last_four(v: vec4<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(v.z), unpack2x16float(v.w)); }

fn capped(v: f32) -> f32 {
//#if CAP
  return CAP * (1.0 - 2.0 / (exp(2.0 * v / CAP) + 1.0));
//#else
  return v;
//#end
}

/// Element i of the key or value as the page holds it.
fn packed(at: u32, is_key: bool) -> vec4<u32> {
  var v = array<vec2<f32>, 4>();
  for (var i = 0u; i < 4u; i++) {
    let e = 8u * at + 2u * i;
    if (is_key) {
      v[i] = vec2<f32>(heads[GROUP * HEAD + e], heads[GROUP * HEAD + e + 1u]);
    } else {
      v[i] = vec2<f32>(value[e], value[e + 1u]);
    }
  }
  return vec4<u32>(pack2x16float(v[0]), pack2x16float(v[1]), pack2x16float(v[2]), pack2x16float(v[3]));
}

/// Queries and the new key and value, normed and turned; the first share writes them to the page.
fn begin(s: u32, query: u32, kv_head: u32, writes: bool, local: u32) {
  let start = s * (HEADS + 2u * KV_HEADS) * HEAD;
  for (var i = local; i < GROUP * HEAD; i += WG) { heads[i] = qkv[start + query * HEAD + i]; }
  for (var i = local; i < HEAD; i += WG) {
    heads[GROUP * HEAD + i] = qkv[start + (HEADS + kv_head) * HEAD + i];
    value[i] = qkv[start + (HEADS + KV_HEADS + kv_head) * HEAD + i];
  }
  workgroupBarrier();
//#if q_norm
  for (var h = local; h < GROUP; h += WG) { factors[h] = head_scale(h * HEAD, EPS); }
//#end
//#if k_norm
  if (local == WG - 1u) { factors[GROUP] = head_scale(GROUP * HEAD, EPS); }
//#end
  workgroupBarrier();
//#if q_norm
  for (var i = local; i < GROUP * HEAD; i += WG) { heads[i] *= factors[i / HEAD] * q_norm[i % HEAD]; }
//#end
//#if k_norm
  for (var i = local; i < HEAD; i += WG) { heads[GROUP * HEAD + i] *= factors[GROUP] * k_norm[i]; }
//#end
  workgroupBarrier();
  let position = f32(bitcast<i32>(batch[run.pos + s]));
  for (var i = local; i < (GROUP + 1u) * ROTARY; i += WG) {
    turn_pair((i / ROTARY) * HEAD, i % ROTARY, position);
  }
  workgroupBarrier();
  for (var i = local; i < GROUP * HEAD / 4u; i += WG) {
    queries[i] = SCALE * vec4<f32>(heads[4u * i], heads[4u * i + 1u], heads[4u * i + 2u], heads[4u * i + 3u]);
  }
  let slot = batch[run.slots + s];
  for (var i = local; i < 2u * VECTORS; i += WG) {
    let which = i / VECTORS;
    let v = packed(i % VECTORS, which == 0u);
    if (which == 0u) {
      own_key[i] = v;
    } else {
      own_value[i - VECTORS] = v;
    }
    if (writes) { kv[kv_word(slot / PAGE, slot % PAGE, which, kv_head) / 4u + i % VECTORS] = v; }
  }
  for (var h = local; h < GROUP; h += WG) {
    top[h] = -3.0e38;
    mass[h] = 0.0;
  }
  workgroupBarrier();
}

/// Scores of keys base .. base + count - 1.
fn score(s: u32, kv_head: u32, base: u32, count: u32, last: u32, local: u32) {
  let piece = local % 8u;
  for (var begun = 0u; begun < count; begun += KEYS) {
    let j = begun + local / 8u;
    let position = base + min(j, count - 1u);
    let at = vector_of(s, position, 0u, kv_head);
    var k = array<vec4<u32>, EACH>();
    for (var e = 0u; e < EACH; e++) { k[e] = kv[at + piece + 8u * e]; }
    if (position == last) {
      for (var e = 0u; e < EACH; e++) { k[e] = own_key[piece + 8u * e]; }
    }
    for (var h = 0u; h < GROUP; h++) {
      var sum = 0.0;
      for (var e = 0u; e < EACH; e++) {
        let i = h * HEAD / 4u + 2u * (piece + 8u * e);
        sum += dot(first_four(k[e]), queries[i]) + dot(last_four(k[e]), queries[i + 1u]);
      }
      sum += subgroupShuffleXor(sum, 1u);
      sum += subgroupShuffleXor(sum, 2u);
      sum += subgroupShuffleXor(sum, 4u);
      if (piece == 0u && j < count) { scores[h * SPAN + j] = capped(sum); }
    }
  }
  workgroupBarrier();
}

/// Scores to weights, a head a subgroup.
fn soften(count: u32, own: u32, lanes: u32, subgroup: u32, groups: u32) {
  for (var h = subgroup; h < GROUP; h += groups) {
    let before = top[h];
    var best = before;
    for (var j = own; j < count; j += lanes) { best = max(best, scores[h * SPAN + j]); }
    best = subgroupMax(best);
    var sum = 0.0;
    for (var j = own; j < count; j += lanes) {
      let p = exp(scores[h * SPAN + j] - best);
      scores[h * SPAN + j] = p;
      sum += p;
    }
    sum = subgroupAdd(sum);
    if (own == 0u) {
      shrink[h] = exp(before - best);
      top[h] = best;
      mass[h] = mass[h] * exp(before - best) + sum;
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) own: u32, @builtin(subgroup_size) lanes: u32,
  @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) groups: u32
) {
  let s = group.y;
  let query = group.x * GROUP;
  let kv_head = query / (HEADS / KV_HEADS);
  begin(s, query, kv_head, group.z == 0u && query % (HEADS / KV_HEADS) == 0u, local);
  let length = batch[run.lens + s];
//#if WINDOW
  let oldest = max(length, WINDOW) - WINDOW;
//#else
  let oldest = 0u;
//#end
  let share = (length - oldest + grid.z - 1u) / grid.z;
  let first = min(oldest + group.z * share, length);
  let end = min(first + share, length);
  let slot = local / VECTORS;
  let piece = local % VECTORS;
  var sums = array<vec4<f32>, 2u * GROUP>();
  for (var base = first; base < end; base += SPAN) {
    let count = min(SPAN, end - base);
    score(s, kv_head, base, count, length - 1u, local);
    soften(count, own, lanes, subgroup, groups);
    for (var i = 0u; i < 2u * GROUP; i++) { sums[i] *= shrink[i / 2u]; }
    for (var j = slot; j < count; j += SLOTS) {
      var v = kv[vector_of(s, base + j, 1u, kv_head) + piece];
      if (base + j + 1u == length) { v = own_value[piece]; }
      let a = first_four(v);
      let b = last_four(v);
      for (var h = 0u; h < GROUP; h++) {
        let weight = scores[h * SPAN + j];
        sums[2u * h] += weight * a;
        sums[2u * h + 1u] += weight * b;
      }
    }
    workgroupBarrier();
  }
  // The upper half of the slots hands its sums to the lower one, until one slot has all.
  for (var half = SLOTS / 2u; half > 0u; half /= 2u) {
    if (slot >= half && slot < 2u * half) {
      let to = (slot - half) * GROUP * HEAD / 4u;
      for (var i = 0u; i < 2u * GROUP; i++) { mixed[to + (i / 2u) * HEAD / 4u + 2u * piece + i % 2u] = sums[i]; }
    }
    workgroupBarrier();
    if (slot < half) {
      let begun = slot * GROUP * HEAD / 4u;
      for (var i = 0u; i < 2u * GROUP; i++) { sums[i] += mixed[begun + (i / 2u) * HEAD / 4u + 2u * piece + i % 2u]; }
    }
    workgroupBarrier();
  }
  if (slot == 0u) {
    for (var h = 0u; h < GROUP; h++) {
      let by = select(0.0, 1.0 / mass[h], mass[h] > 0.0); // a share may have no keys
      let a = by * sums[2u * h];
      let b = by * sums[2u * h + 1u];
      let to = ((group.z * HEADS + query + h) * HEAD + 8u * piece) / 2u;
      out[to] = pack2x16float(a.xy);
      out[to + 1u] = pack2x16float(a.zw);
      out[to + 2u] = pack2x16float(b.xy);
      out[to + 3u] = pack2x16float(b.zw);
    }
  }
  for (var h = local; h < GROUP; h += WG) {
    let stats = SPLITS * HEADS * HEAD / 2u + 2u * (group.z * HEADS + query + h);
    out[stats] = bitcast<u32>(top[h]);
    out[stats + 1u] = bitcast<u32>(mass[h]);
  }
}
