// Tier T2: rows of q4_0 or q4_1 weights in planes times one token, four at a time in a subgroup.
// The quants of block b of a row lie in one vec4<u32>, as in the file; `scales` holds a float16
// scale a block, with MINIMUM a scale and a minimum. Loads of the next blocks are under way while
// those at hand are multiplied, the first ones while the token is staged: at the start of a
// dispatch nothing else would be.
// Two nibbles become a vec2<f16> by their bits (1024 + n, exactly) and are multiplied in float16;
// eight products are added before float32 takes over, so the token is staged as a sixteenth and cut
// at MOST, where they cannot overflow.

const PRESCALE: f32 = 0.0625;
//#if MINIMUM
const MOST: f32 = 500.0;
const OFFSET: vec2<f16> = vec2<f16>(1024.0h);
const OFFSET_HIGH: vec2<f16> = vec2<f16>(-64.0h);
//#else
const MOST: f32 = 1000.0;
const OFFSET: vec2<f16> = vec2<f16>(1032.0h); // the middle of q4_0 is 8
const OFFSET_HIGH: vec2<f16> = vec2<f16>(-72.0h);
//#end

/// Of word j of block b at j * BLOCKS + b: elements 4j and 4j + 2; 4j + 1 and 4j + 3; both + 16.
var<workgroup> staged: array<vec4<u32>, 4u * BLOCKS>;
//#if MINIMUM
var<workgroup> totals: array<f32, BLOCKS>; // of a block's elements
//#end
var<workgroup> parts: array<f32, 128>;
//#if SPLITS
var<workgroup> weights: array<f32, SPLITS * HEADS>;
//#end
var<private> lane: u32;
var<private> lanes: u32;

/// Block b of four rows on its way.
struct Load { p: vec4<u32>, q: vec4<u32>, r: vec4<u32>, s: vec4<u32>, f: vec4<u32> }

fn load(rows: vec4<u32>, b: u32) -> Load {
  let at = rows * BLOCKS + vec4<u32>(min(b, BLOCKS - 1u));
//#if MINIMUM
  let f = vec4<u32>(scales[at.x], scales[at.y], scales[at.z], scales[at.w]);
//#else
  let i = at >> vec4<u32>(1u);
  let f = vec4<u32>(scales[i.x], scales[i.y], scales[i.z], scales[i.w]) >> ((at & vec4<u32>(1u)) * 16u);
//#end
  return Load(w[at.x], w[at.y], w[at.z], w[at.w], f);
}

/// The two float16 of a word; compilers drop the way through float32. naga has no bitcast for it.
fn halves(v: u32) -> vec2<f16> { return vec2<f16>(unpack2x16float(v)); }

fn low(v: u32) -> vec2<f16> {
  return halves((v & 0x000f000fu) | 0x64006400u) - OFFSET;
}
fn high(v: u32) -> vec2<f16> {
  return fma(halves((v & 0x00f000f0u) | 0x64006400u), vec2<f16>(0.0625h), OFFSET_HIGH);
}

/// Eight weights times the elements that belong to them, added to `sum`.
fn eight(v: u32, x: vec4<u32>, sum: vec2<f16>) -> vec2<f16> {
  let odd = v >> 8u;
  return fma(high(odd), halves(x.w), fma(high(v), halves(x.z),
         fma(low(odd), halves(x.y), fma(low(v), halves(x.x), sum))));
}

fn dot_block(p: vec4<u32>, a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>) -> f32 {
  let sum = vec2<f32>(eight(p.y, b, eight(p.x, a, vec2<f16>())))
          + vec2<f32>(eight(p.w, d, eight(p.z, c, vec2<f16>())));
  return sum.x + sum.y;
}

/// Products of block b of four rows; none beyond the last block.
fn product(k: Load, block: u32) -> vec4<f32> {
  let b = min(block, BLOCKS - 1u);
  let x = staged[b];
  let y = staged[BLOCKS + b];
  let z = staged[2u * BLOCKS + b];
  let t = staged[3u * BLOCKS + b];
  let dots = vec4<f32>(dot_block(k.p, x, y, z, t), dot_block(k.q, x, y, z, t),
                       dot_block(k.r, x, y, z, t), dot_block(k.s, x, y, z, t));
  let e = vec4<f32>(unpack2x16float(k.f.x), unpack2x16float(k.f.y));
  let g = vec4<f32>(unpack2x16float(k.f.z), unpack2x16float(k.f.w));
  let d = vec4<f32>(e.x, e.z, g.x, g.z);
//#if MINIMUM
  let sum = dots * d + totals[b] * vec4<f32>(e.y, e.w, g.y, g.w);
//#else
  let sum = dots * d;
//#end
  return select(vec4<f32>(), sum, block < BLOCKS);
}

//#if SPLITS
/// What each share of the keys weighs in each head.
fn weigh(local: u32) {
  let count = min(SPLITS, (run.L + SHARE - 1u) / SHARE);
  for (var head = local; head < HEADS; head += WG) {
    let stats = SPLITS * WIDTH + head;
    var best = -3.0e38;
    for (var s = 0u; s < count; s++) { best = max(best, bitcast<f32>(x[stats + s * HEADS].x)); }
    var mass = 0.0;
    for (var s = 0u; s < count; s++) {
      let v = bitcast<vec2<f32>>(x[stats + s * HEADS]);
      let own = exp(v.x - best) * v.y;
      weights[s * HEADS + head] = own;
      mass += own;
    }
    for (var s = 0u; s < count; s++) { weights[s * HEADS + head] /= mass; }
  }
  workgroupBarrier();
}

/// Quad i of the attention's output from its shares.
fn element(t: u32, i: u32) -> vec4<f32> {
  let count = min(SPLITS, (run.L + SHARE - 1u) / SHARE);
  var sum = vec4<f32>();
  for (var s = 0u; s < count; s++) {
    let v = x[s * WIDTH + i];
    sum += weights[s * HEADS + i * 4u / HEAD] * vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y));
  }
  return sum;
}
//#else
fn element(t: u32, i: u32) -> vec4<f32> {
//#if norm
  return x[t * WIDTH + i] * norm[i];
//#else
  return x[t * WIDTH + i];
//#end
}
//#end

/// Brings the token to workgroup memory, normed.
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
  let scale = PRESCALE * inverseSqrt(total / COLUMNS + EPS);
//#else
  let scale = PRESCALE;
//#end
//#if SPLITS
  weigh(local);
//#end
  for (var i = local; i < 4u * BLOCKS; i += WG) {
    let b = i / 4u;
    let j = i % 4u;
    let a = clamp(element(t, 8u * b + j) * scale, vec4<f32>(-MOST), vec4<f32>(MOST));
    let c = clamp(element(t, 8u * b + 4u + j) * scale, vec4<f32>(-MOST), vec4<f32>(MOST));
    staged[j * BLOCKS + b] = vec4<u32>(pack2x16float(a.xz), pack2x16float(a.yw),
                                       pack2x16float(c.xz), pack2x16float(c.yw));
//#if MINIMUM
    var total = dot(a + c, vec4<f32>(1.0));
    total += subgroupShuffleXor(total, 1u); // the four words of a block are neighbours
    total += subgroupShuffleXor(total, 2u);
    if (j == 0u) { totals[b] = total; }
//#end
  }
  workgroupBarrier();
}

/// All rows of this subgroup, EACH outputs at a time: `rows_of` names the four rows of a turn,
/// `emit` takes their sums.
fn all_rows(t: u32, x_row: u32, group: u32, local: u32, subgroup: u32, groups: u32) {
//#if PAIR
  let strip = 2u * lanes;
//#else
  let strip = lanes;
//#end
  let chunks = (BLOCKS + strip - 1u) / strip;
  let step = TURN * groups * EACH;
  var row = (group * groups + subgroup) * EACH;
  var c = 0u;
  var now = load(rows_of(row), lane);
//#if PAIR
  var also = load(rows_of(row), lane + lanes);
//#end
  stage(x_row, local, subgroup, groups);
  var sum = vec4<f32>();
  while (row < ROWS) {
    var next = row;
    var ahead = c + 1u;
    if (ahead == chunks) {
      ahead = 0u;
      next = row + step;
    }
    let b = c * strip + lane;
    let coming = load(rows_of(next), ahead * strip + lane);
//#if PAIR
    let following = load(rows_of(next), ahead * strip + lane + lanes);
    sum += product(now, b) + product(also, b + lanes);
    also = following;
//#else
    sum += product(now, b);
//#end
    now = coming;
    if (ahead == 0u) {
      let all = subgroupAdd(sum) / PRESCALE;
      if (lane == 0u) { emit(t, row, all); }
      sum = vec4<f32>();
    }
    row = next;
    c = ahead;
  }
}
