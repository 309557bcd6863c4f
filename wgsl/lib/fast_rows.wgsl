// Tier T2: four rows a subgroup, weights in planes. The quants of block b of a row lie in one
// vec4<u32>, as in the file; its float16 scale in `scales` (q4_0: two a word; q4_1: scale and
// minimum). The token is staged as float16, transposed, so that lanes read neighbours.
// A nibble becomes 1 + n / 16 by its bits alone; the ones are taken back with the sum of the block.

var<workgroup> staged: array<vec4<f16>, WIDTH>; // quad j of block b at j * BLOCKS + b
var<workgroup> parts: array<f32, 128>;
var<private> lane: u32;
var<private> lanes: u32;

fn halves(v: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>((v & vec4<u32>(0x00780000u)) | vec4<u32>(0x3f800000u));
}

/// Low nibbles of a word's bytes as 1 + n / 16, then the high ones.
fn low_four(v: u32) -> vec4<f32> {
  return halves(vec4<u32>(v << 19u, v << 11u, v << 3u, v >> 5u));
}
fn high_four(v: u32) -> vec4<f32> {
  return halves(vec4<u32>(v << 15u, v << 7u, v >> 1u, v >> 9u));
}

/// Scale and what the block's sum of x is multiplied with.
fn factors(i: u32) -> vec2<f32> {
//#if MINIMUM
  let dm = unpack2x16float(scales[i]);
  return vec2<f32>(16.0 * dm.x, dm.y - 16.0 * dm.x);
//#else
  let d = unpack2x16float(scales[i >> 1u] >> ((i & 1u) * 16u)).x;
  return vec2<f32>(16.0 * d, -24.0 * d);
//#end
}

//#if SPLITS
/// Quad i of the attention's output: its shares of the keys, each with its own maximum and mass.
fn combined(i: u32) -> vec4<f32> {
  let head = i * 4u / HEAD;
  let stats = SPLITS * WIDTH + head / 2u;
  let odd = head % 2u == 1u;
  let count = min(SPLITS, (run.L + SHARE - 1u) / SHARE);
  var best = -3.0e38;
  for (var s = 0u; s < count; s++) {
    let v = x[stats + s * HEADS / 2u];
    best = max(best, select(v.x, v.z, odd));
  }
  var sum = vec4<f32>();
  var mass = 0.0;
  for (var s = 0u; s < count; s++) {
    let v = x[stats + s * HEADS / 2u];
    let weight = exp(select(v.x, v.z, odd) - best);
    mass += weight * select(v.y, v.w, odd);
    sum += weight * x[s * WIDTH + i];
  }
  return sum / mass;
}
//#end

/// Brings the token (and its norm) to workgroup memory; returns nothing: rows are sums after it.
fn stage(t: u32, local: u32, subgroup: u32, groups: u32) {
//#if norm
  var own = 0.0;
  for (var i = local; i < WIDTH; i += WG) {
    let v = x[t * WIDTH + i];
    own += dot(v, v);
  }
  own = subgroupAdd(own);
  if (lane == 0u) { parts[subgroup] = own; }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < groups; i++) { total += parts[i]; }
  let scale = inverseSqrt(total / COLUMNS + EPS);
//#end
  for (var i = local; i < WIDTH; i += WG) {
//#if norm
    let v = x[t * WIDTH + i] * norm[i] * scale;
//#else
//#if SPLITS
    let v = combined(i);
//#else
    let v = x[t * WIDTH + i];
//#end
//#end
    staged[(i % 8u) * BLOCKS + i / 8u] = vec4<f16>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
  }
  workgroupBarrier();
}

/// Products of four rows with the staged token, in every lane.
fn four_rows(rows: vec4<u32>) -> vec4<f32> {
  var sum = vec4<f32>();
  let start = rows * BLOCKS;
  for (var b = lane; b < BLOCKS; b += lanes) {
    let at = start + b;
    let p = w[at.x];
    let q = w[at.y];
    let r = w[at.z];
    let s = w[at.w];
    let fp = factors(at.x);
    let fq = factors(at.y);
    let fr = factors(at.z);
    let fs = factors(at.w);
    var dots = vec4<f32>();
    var ones = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
      let a = vec4<f32>(staged[j * BLOCKS + b]);
      let c = vec4<f32>(staged[(j + 4u) * BLOCKS + b]);
      ones += a + c;
      dots += vec4<f32>(dot(low_four(p[j]), a) + dot(high_four(p[j]), c),
                        dot(low_four(q[j]), a) + dot(high_four(q[j]), c),
                        dot(low_four(r[j]), a) + dot(high_four(r[j]), c),
                        dot(low_four(s[j]), a) + dot(high_four(s[j]), c));
    }
    let all = ones.x + ones.y + ones.z + ones.w;
    sum += dots * vec4<f32>(fp.x, fq.x, fr.x, fs.x) + all * vec4<f32>(fp.y, fq.y, fr.y, fs.y);
  }
  return subgroupAdd(sum);
}
