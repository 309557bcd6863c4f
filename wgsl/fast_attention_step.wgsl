// attention_step of one token on tier T2: a workgroup does GROUP query heads of one KV head over one
// of grid.z shares of the keys, SPAN at a time; who reads `out` combines the shares. Eight lanes read
// a key, 16 bytes each at a time; values likewise, HEAD / 8 lanes one. Keys and values of a span are
// asked for before anything else is done, those of the next one as soon as theirs are used. In `out`,
// two float16 a word: SPLITS times all heads' vectors, each divided by its mass; then, as float32,
// maximum and mass of each.

const VECTORS: u32 = HEAD / 8u;     // vec4<u32> of a head's vector
const KEYS: u32 = WG / 8u;          // keys at a time
const SLOTS: u32 = WG / VECTORS;    // values at a time
const HALF: u32 = SLOTS / 2u;

var<workgroup> heads: array<f32, (GROUP + 2u) * HEAD>; // queries, the key, the value
var<workgroup> factors: array<f32, GROUP + 1u>;
var<workgroup> turns: array<vec2<f32>, ROTARY>;
var<workgroup> queries: array<vec4<f32>, GROUP * HEAD / 4u>;
var<workgroup> own_key: array<vec4<u32>, VECTORS>;
var<workgroup> own_value: array<vec4<u32>, VECTORS>;
var<workgroup> scores: array<f32, GROUP * SPAN>;
var<workgroup> top: array<f32, GROUP>;
var<workgroup> mass: array<f32, GROUP>;
var<workgroup> shrink: array<f32, GROUP>;
var<workgroup> mixed: array<vec4<f32>, HALF * GROUP * HEAD / 4u>;
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

/// Elements 8 i to 8 i + 7 of the key (0) or value (1) as a page holds them.
fn packed(which: u32, i: u32) -> vec4<u32> {
  let at = (GROUP + which) * HEAD + 8u * i;
  return vec4<u32>(pack2x16float(vec2<f32>(heads[at], heads[at + 1u])),
                   pack2x16float(vec2<f32>(heads[at + 2u], heads[at + 3u])),
                   pack2x16float(vec2<f32>(heads[at + 4u], heads[at + 5u])),
                   pack2x16float(vec2<f32>(heads[at + 6u], heads[at + 7u])));
}

/// Word of q, k, v that element i of `heads` comes from.
fn source(start: u32, query: u32, kv_head: u32, i: u32) -> u32 {
  let key = (HEADS + kv_head) * HEAD + i - GROUP * HEAD;
  let value = (HEADS + KV_HEADS + kv_head) * HEAD + i - (GROUP + 1u) * HEAD;
  return start + select(select(query * HEAD + i, key, i >= GROUP * HEAD), value, i >= (GROUP + 1u) * HEAD);
}

/// Queries and the new key and value, normed and turned; the first share writes them to the page.
fn begin(kv_head: u32, position: u32, slot: u32, first: f32, writes: bool, local: u32) {
  var own = first;
  for (var j = local; j < ROTARY; j += WG) {
    turns[j] = cos_sin(f32(bitcast<i32>(position)) * own) * MSCALE;
    own = freq[min(j + WG, ROTARY - 1u)];
  }
  for (var h = local; h < GROUP; h += WG) {
    top[h] = -3.0e38;
    mass[h] = 0.0;
  }
  workgroupBarrier();
//#if q_norm
  for (var h = local; h < GROUP; h += WG) { factors[h] = head_scale(h * HEAD, EPS); }
//#end
//#if k_norm
  if (local == WG - 1u) { factors[GROUP] = head_scale(GROUP * HEAD, EPS); }
  workgroupBarrier();
//#else
//#if q_norm
  workgroupBarrier();
//#end
//#end
//#if q_norm
  for (var i = local; i < GROUP * HEAD; i += WG) { heads[i] *= factors[i / HEAD] * q_norm[i % HEAD]; }
//#end
//#if k_norm
  for (var i = local; i < HEAD; i += WG) { heads[GROUP * HEAD + i] *= factors[GROUP] * k_norm[i]; }
  workgroupBarrier();
//#else
//#if q_norm
  workgroupBarrier();
//#end
//#end
  for (var i = local; i < (GROUP + 1u) * ROTARY; i += WG) {
    let at = (i / ROTARY) * HEAD + i % ROTARY;
    let t = turns[i % ROTARY];
    let a = heads[at];
    let b = heads[at + ROTARY];
    heads[at] = a * t.x - b * t.y;
    heads[at + ROTARY] = b * t.x + a * t.y;
  }
  workgroupBarrier();
  for (var i = local; i < GROUP * HEAD / 4u; i += WG) {
    queries[i] = SCALE * vec4<f32>(heads[4u * i], heads[4u * i + 1u], heads[4u * i + 2u], heads[4u * i + 3u]);
  }
  for (var i = local; i < 2u * VECTORS; i += WG) {
    let which = i / VECTORS;
    let v = packed(which, i % VECTORS);
    if (which == 0u) {
      own_key[i] = v;
    } else {
      own_value[i - VECTORS] = v;
    }
    if (writes) { kv[kv_word(slot / PAGE, slot % PAGE, which, kv_head) / 4u + i % VECTORS] = v; }
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
  let start = s * (HEADS + 2u * KV_HEADS) * HEAD;
//#for i TAKES
  let e#i = qkv[source(start, query, kv_head, min(local + #iu * WG, (GROUP + 2u) * HEAD - 1u))];
//#end
  let length = batch[run.lens + s]; // what follows asks for all its words before it uses one
  let position = batch[run.pos + s];
  let own_slot = batch[run.slots + s];
  let turn = freq[min(local, ROTARY - 1u)];
//#if WINDOW
  let oldest = max(length, WINDOW) - WINDOW;
//#else
  let oldest = 0u;
//#end
  let share = (length - oldest + grid.z - 1u) / grid.z;
  let first = min(oldest + group.z * share, length);
  let end = min(first + share, length);
  let newest = length - 1u;
  let key = local / 8u;
  let part = local % 8u;
  let slot = local / VECTORS;
  let piece = local % VECTORS;
//#for j ROUNDS
  let at#j = vector_of(s, min(first + key + #ju * KEYS, newest), 0u, kv_head) + part;
//#for e EACH
  var k#j_#e = kv[at#j + 8u * #eu];
//#end
//#end
//#for j TURNS
  var v#j = kv[vector_of(s, min(first + slot + #ju * SLOTS, newest), 1u, kv_head) + piece];
//#end
//#for i TAKES
  if (local + #iu * WG < (GROUP + 2u) * HEAD) { heads[local + #iu * WG] = e#i; }
//#end
  begin(kv_head, position, own_slot, turn, group.z == 0u && query % (HEADS / KV_HEADS) == 0u, local);
//#for h GROUP
  var a#h = vec4<f32>();
  var b#h = vec4<f32>();
//#end
  for (var base = first; base < end; base += SPAN) {
    let count = min(SPAN, end - base);
    let next = base + SPAN;
//#for j ROUNDS
    {
      let i = key + #ju * KEYS;
      if (base + i == newest) {
//#for e EACH
        k#j_#e = own_key[part + 8u * #eu];
//#end
      }
//#for h GROUP
      {
        var sum = 0.0;
//#for e EACH
        sum += dot(first_four(k#j_#e), queries[#hu * HEAD / 4u + 2u * part + 16u * #eu])
             + dot(last_four(k#j_#e), queries[#hu * HEAD / 4u + 2u * part + 16u * #eu + 1u]);
//#end
        sum += subgroupShuffleXor(sum, 1u);
        sum += subgroupShuffleXor(sum, 2u);
        sum += subgroupShuffleXor(sum, 4u);
        if (part == 0u && i < count) { scores[#hu * SPAN + i] = capped(sum); }
      }
//#end
      if (next < end) {
        let at = vector_of(s, min(next + i, newest), 0u, kv_head) + part;
//#for e EACH
        k#j_#e = kv[at + 8u * #eu];
//#end
      }
    }
//#end
    workgroupBarrier();
    soften(count, own, lanes, subgroup, groups);
//#for h GROUP
    a#h *= shrink[#hu];
    b#h *= shrink[#hu];
//#end
//#for j TURNS
    {
      let i = slot + #ju * SLOTS;
      if (base + i == newest) { v#j = own_value[piece]; }
      let c = first_four(v#j);
      let d = last_four(v#j);
      if (i < count) {
//#for h GROUP
        {
          let weight = scores[#hu * SPAN + i];
          a#h += weight * c;
          b#h += weight * d;
        }
//#end
      }
      if (next < end) { v#j = kv[vector_of(s, min(next + i, newest), 1u, kv_head) + piece]; }
    }
//#end
    workgroupBarrier();
  }
  // The upper half of the slots hands its sums to the lower one, whose sums are added word by word.
  let to = (slot % HALF) * GROUP * HEAD / 4u + 2u * piece;
  if (slot >= HALF) {
//#for h GROUP
    mixed[to + #hu * HEAD / 4u] = a#h;
    mixed[to + #hu * HEAD / 4u + 1u] = b#h;
//#end
  }
  workgroupBarrier();
  if (slot < HALF) {
//#for h GROUP
    mixed[to + #hu * HEAD / 4u] += a#h;
    mixed[to + #hu * HEAD / 4u + 1u] += b#h;
//#end
  }
  workgroupBarrier();
  for (var i = local; i < GROUP * HEAD / 4u; i += WG) {
    var sum = vec4<f32>();
    for (var j = 0u; j < HALF; j++) { sum += mixed[j * GROUP * HEAD / 4u + i]; }
    let all = mass[4u * i / HEAD];
    sum *= select(0.0, 1.0 / all, all > 0.0); // a share may have no keys
    let word = (group.z * HEADS + query) * HEAD / 2u + 2u * i;
    out[word] = pack2x16float(sum.xy);
    out[word + 1u] = pack2x16float(sum.zw);
  }
  for (var h = local; h < GROUP; h += WG) {
    let stats = SPLITS * HEADS * HEAD / 2u + 2u * (group.z * HEADS + query + h);
    out[stats] = bitcast<u32>(top[h]);
    out[stats + 1u] = bitcast<u32>(mass[h]);
  }
}
