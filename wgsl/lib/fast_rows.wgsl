// Tier T2: rows of q4_0 or q4_1 weights in planes times one token, four at a time in a subgroup,
// or two with TWO: half the instructions, which lie cold when a dispatch begins, and more subgroups.
// The quants of block b of a row lie in one vec4<u32>, as in the file; `scales` holds a float16
// scale a block, with MINIMUM a scale and a minimum. A lane has DEPTH blocks of its rows under way
// and asks for the next one as soon as one is used, the first ones before the token is staged: at
// the start of a dispatch nothing else would be.
// The token is staged as whole numbers of a step, a 16,256th of the largest of its block: 128 a + b
// in two signed bytes. Products with nibbles are integers, four by an instruction, and exact; they
// stay below 2^23, so float32 takes them whole. The norm's 1 / rms multiplies the sums at the end.
// With PACKED `x` has these numbers already, as a kernel with PACK writes them: the words of `staged`,
// then two words a block, step and sum, then two more, the sum of squares before the norm and none.
// With PACK a workgroup makes PACK outputs in a row, whole blocks.

/// a of elements 0..15 of the blocks, of 16..31, then b likewise.
var<workgroup> staged: array<vec4<u32>, 4u * BLOCKS>;
/// A block's step, and what its sum takes away: with MINIMUM as float32, else 8 steps as an integer.
var<workgroup> steps: array<vec2<u32>, BLOCKS>;
var<workgroup> parts: array<f32, 128>;
var<private> lane: u32;
var<private> lanes: u32;

const MOST: f32 = 16256.0; // 127 * 128

//#if TWO
alias Rows = vec2<u32>;
alias Sums = vec2<f32>;
//#else
alias Rows = vec4<u32>;
alias Sums = vec4<f32>;
//#end

/// Block b of the rows on its way.
//#if TWO
struct Load { p: vec4<u32>, q: vec4<u32>, f: Rows }
//#else
struct Load { p: vec4<u32>, q: vec4<u32>, r: vec4<u32>, s: vec4<u32>, f: Rows }
//#end

fn load(rows: Rows, block: u32) -> Load {
  let b = min(block, BLOCKS - 1u);
  let at = rows * BLOCKS + Rows(b);
//#if MINIMUM
  let i = at;
//#else
  let i = at >> Rows(1u);
//#end
//#if TWO
  return Load(w[at.x], w[at.y], Rows(scales[i.x], scales[i.y]));
//#else
  return Load(w[at.x], w[at.y], w[at.z], w[at.w], Rows(scales[i.x], scales[i.y], scales[i.z], scales[i.w]));
//#end
}

fn dots(v: vec4<u32>, a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, begun: i32) -> i32 {
  let l = v & vec4<u32>(0x0f0f0f0fu);
  let h = (v >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
  var large = dot4I8Packed(l.x, a.x);
  large = dot4I8Packed(l.y, a.y) + large;
  large = dot4I8Packed(l.z, a.z) + large;
  large = dot4I8Packed(l.w, a.w) + large;
  large = dot4I8Packed(h.x, b.x) + large;
  large = dot4I8Packed(h.y, b.y) + large;
  large = dot4I8Packed(h.z, b.z) + large;
  large = dot4I8Packed(h.w, b.w) + large;
  var small = dot4I8Packed(l.x, c.x) + begun;
  small = dot4I8Packed(l.y, c.y) + small;
  small = dot4I8Packed(l.z, c.z) + small;
  small = dot4I8Packed(l.w, c.w) + small;
  small = dot4I8Packed(h.x, d.x) + small;
  small = dot4I8Packed(h.y, d.y) + small;
  small = dot4I8Packed(h.z, d.z) + small;
  small = dot4I8Packed(h.w, d.w) + small;
  return large * 128 + small;
}

/// Products of block b of the rows; none beyond the last block.
fn product(k: Load, block: u32) -> Sums {
  let b = min(block, BLOCKS - 1u);
  let x = staged[b];
  let y = staged[BLOCKS + b];
  let z = staged[2u * BLOCKS + b];
  let t = staged[3u * BLOCKS + b];
  let step = steps[b];
//#if MINIMUM
  let begun = 0;
  let f = k.f;
//#else
  let begun = bitcast<i32>(step.y);
  let f = k.f >> Rows((b & 1u) * 16u);
//#end
  let e = vec4<f32>(unpack2x16float(f.x), unpack2x16float(f.y));
//#if TWO
  let all = Sums(f32(dots(k.p, x, y, z, t, begun)), f32(dots(k.q, x, y, z, t, begun)));
  let by = Sums(e.x, e.z);
  let least = Sums(e.y, e.w);
//#else
  let g = vec4<f32>(unpack2x16float(f.z), unpack2x16float(f.w));
  let all = vec4<f32>(vec4<i32>(dots(k.p, x, y, z, t, begun), dots(k.q, x, y, z, t, begun),
                                dots(k.r, x, y, z, t, begun), dots(k.s, x, y, z, t, begun)));
  let by = Sums(e.x, e.z, g.x, g.z);
  let least = Sums(e.y, e.w, g.y, g.w);
//#end
  let sum = all * by * bitcast<f32>(step.x);
//#if MINIMUM
  return select(Sums(), sum + bitcast<f32>(step.y) * least, block < BLOCKS);
//#else
  return select(Sums(), sum, block < BLOCKS);
//#end
}

//#if PACKED
//#else
/// Half a block of the token: its 16 elements.
struct Half { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

//#if SPLITS
/// From the shares of the keys that attention_step wrote, each weighed by its mass in the head.
fn half_of(t: u32, i: u32) -> Half {
  let count = min(SPLITS, (run.L + SHARE - 1u) / SHARE);
  let head = i * 16u / HEAD;
  var best = -3.0e38;
  var mass = 0.0;
  var sum = Half();
  for (var base = 0u; base < count; base += SHARES) {
    let before = best;
//#for s SHARES
    let at#s = min(base + #su, count - 1u);
    let both#s = bitcast<vec4<f32>>(x[SPLITS * (WIDTH / 2u) + (at#s * HEADS + head) / 2u]);
    let m#s = select(both#s.xy, both#s.zw, ((at#s * HEADS + head) & 1u) == 1u);
    let p#s = x[at#s * (WIDTH / 2u) + 2u * i];
    let q#s = x[at#s * (WIDTH / 2u) + 2u * i + 1u];
    best = max(best, m#s.x);
//#end
    let shrink = exp(before - best);
    mass *= shrink;
    sum = Half(sum.a * shrink, sum.b * shrink, sum.c * shrink, sum.d * shrink);
//#for s SHARES
    let w#s = select(0.0, exp(m#s.x - best) * m#s.y, base + #su < count);
    mass += w#s;
    sum.a += w#s * vec4<f32>(unpack2x16float(p#s.x), unpack2x16float(p#s.y));
    sum.b += w#s * vec4<f32>(unpack2x16float(p#s.z), unpack2x16float(p#s.w));
    sum.c += w#s * vec4<f32>(unpack2x16float(q#s.x), unpack2x16float(q#s.y));
    sum.d += w#s * vec4<f32>(unpack2x16float(q#s.z), unpack2x16float(q#s.w));
//#end
  }
  return Half(sum.a / mass, sum.b / mass, sum.c / mass, sum.d / mass);
}
//#else
fn half_of(t: u32, i: u32) -> Half {
  let at = t * WIDTH + 4u * i;
  return Half(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}
//#end
//#end

/// Four numbers n as the low bits of 1.5 * 2^23 + 64 + n: additions round as they should and cost an
/// eighth of a conversion. 0 <= (n + 64) & 127 is b + 64, and (n + 64) >> 7 is a.
const MAGIC: f32 = 12582976.0;
const SIXTEEN: u32 = 0xb4000400u; // times its bits, which wraps
const FOUR: u32 = 0x2d000100u;

fn numbers(v: vec4<f32>, by: f32) -> vec4<u32> {
  return bitcast<vec4<u32>>(fma(v, vec4<f32>(by), vec4<f32>(MAGIC)));
}

/// a of four numbers in signed bytes.
fn larges(n: vec4<u32>) -> u32 {
  return ((n.x >> 7u) & 0xffu) | ((n.y << 1u) & 0xff00u) | ((n.z << 9u) & 0xff0000u) | ((n.w << 17u) & 0xff000000u);
}

/// b of four numbers in signed bytes.
fn smalls(n: vec4<u32>) -> u32 {
  let m = n & vec4<u32>(127u);
  let b = (m.x | (m.y << 8u) | (m.z << 16u) | (m.w << 24u)) ^ 0x40404040u; // minus 64 in seven bits
  return b | ((b & 0x40404040u) << 1u);
}

//#if PACK
var<workgroup> made: array<f32, PACK>;
var<private> begun: u32; // the first output of the workgroup

/// Adds or compares over the eight threads of a block.
fn added_up(v: i32) -> i32 {
  var sum = v + subgroupShuffleXor(v, 1u);
  sum += subgroupShuffleXor(sum, 2u);
  return sum + subgroupShuffleXor(sum, 4u);
}

fn largest(v: f32) -> f32 {
  var most = max(v, subgroupShuffleXor(v, 1u));
  most = max(most, subgroupShuffleXor(most, 2u));
  return max(most, subgroupShuffleXor(most, 4u));
}

/// What the thread's outputs are multiplied with; asked for before it is needed.
fn factors(local: u32) -> vec4<f32> {
//#if next
  return next[min(begun / 4u + local, ROWS / 4u - 1u)];
//#else
  return vec4<f32>(1.0);
//#end
}

/// Writes the workgroup's outputs of token t to `packed`, four a thread.
fn pack(t: u32, local: u32, by: vec4<f32>) {
  workgroupBarrier();
  let j = min(4u * local, PACK - 4u);
  var v = vec4<f32>(made[j], made[j + 1u], made[j + 2u], made[j + 3u]);
  let i = begun / 4u + local;
//#if next
  var squares = dot(v, v);
  squares += subgroupShuffleXor(squares, 1u);
  squares += subgroupShuffleXor(squares, 2u);
  squares += subgroupShuffleXor(squares, 4u);
  v *= by;
//#end
  let size = max(abs(v.xy), abs(v.zw));
  let most = largest(max(size.x, size.y));
  let n = numbers(v, select(0.0, MOST / most, most > 1.0e-30));
  let total = added_up(bitcast<i32>(n.x + n.y + n.z + n.w - FOUR));
  if (4u * local < PACK && i < ROWS / 4u) {
    let all = ROWS / 32u;
    let base = t * 20u * all;
    let at = base + 4u * (i / 4u % 2u * all + i / 8u) + i % 4u;
    packed[at] = larges(n);
    packed[at + 8u * all] = smalls(n);
    if (i % 8u == 0u) {
      packed[base + 16u * all + i / 4u] = bitcast<u32>(most / MOST);
      packed[base + 16u * all + i / 4u + 1u] = bitcast<u32>(total);
//#if next
      packed[base + 18u * all + i / 4u] = bitcast<u32>(squares);
//#end
    }
  }
}

//#end
//#if PACKED
const WORDS: u32 = 5u * BLOCKS; // vec4<u32> of a token

fn step_of(step: u32, total: u32) -> vec2<u32> {
//#if MINIMUM
  return vec2<u32>(step, bitcast<u32>(bitcast<f32>(step) * f32(bitcast<i32>(total))));
//#else
  return vec2<u32>(step, bitcast<u32>(-8 * bitcast<i32>(total)));
//#end
}

/// Puts four words of a packed token where they belong; returns what they have of the squares.
fn keep(v: vec4<u32>, i: u32) -> f32 {
  if (i < 4u * BLOCKS) {
    staged[i] = v;
  } else if (2u * i < 9u * BLOCKS) {
    let b = 2u * i - 8u * BLOCKS;
    steps[b] = step_of(v.x, v.y);
    steps[b + 1u] = step_of(v.z, v.w);
  } else if (i < WORDS) {
    return bitcast<f32>(v.x) + bitcast<f32>(v.z);
  }
  return 0.0;
}

/// After `keep`: what sums are multiplied with. `own`: this thread's squares.
fn kept(own: f32, subgroup: u32, groups: u32) -> f32 {
//#if EPS
  let sum = subgroupAdd(own);
  if (lane == 0u) { parts[subgroup] = sum; }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < groups; i++) { total += parts[i]; }
  return inverseSqrt(total / COLUMNS + EPS);
//#else
  workgroupBarrier();
  return 1.0;
//#end
}
//#else
/// Writes half block i of the token to workgroup memory.
fn put(v: Half, i: u32) {
  let size = max(max(abs(v.a), abs(v.b)), max(abs(v.c), abs(v.d)));
  var most = max(max(size.x, size.y), max(size.z, size.w));
  most = max(most, subgroupShuffleXor(most, 1u)); // the halves of a block are neighbours
  let by = select(0.0, MOST / most, most > 1.0e-30);
  let a = numbers(v.a, by);
  let b = numbers(v.b, by);
  let c = numbers(v.c, by);
  let d = numbers(v.d, by);
  let at = (i & 1u) * BLOCKS + i / 2u;
  staged[at] = vec4<u32>(larges(a), larges(b), larges(c), larges(d));
  staged[2u * BLOCKS + at] = vec4<u32>(smalls(a), smalls(b), smalls(c), smalls(d));
  let four = a + b + c + d;
  var total = bitcast<i32>(four.x + four.y + four.z + four.w - SIXTEEN);
  total += subgroupShuffleXor(total, 1u);
  if ((i & 1u) == 0u) {
    let step = most / MOST;
//#if MINIMUM
    steps[i / 2u] = bitcast<vec2<u32>>(vec2<f32>(step, step * f32(total)));
//#else
    steps[i / 2u] = vec2<u32>(bitcast<u32>(step), bitcast<u32>(-8 * total));
//#end
  }
}

/// Brings the token to workgroup memory; returns what sums are multiplied with.
fn stage(t: u32, local: u32, subgroup: u32, groups: u32) -> f32 {
  var own = 0.0;
//#if LONG
  var ahead = half_of(t, local);
//#end
  for (var i = local; i < 2u * BLOCKS; i += WG) {
//#if LONG
    var v = ahead; // of which there are several a thread: the next one is on its way
    ahead = half_of(t, min(i + WG, 2u * BLOCKS - 1u));
//#else
    var v = half_of(t, i);
//#end
//#if norm
    own += dot(v.a, v.a) + dot(v.b, v.b) + dot(v.c, v.c) + dot(v.d, v.d);
    v = Half(v.a * norm[4u * i], v.b * norm[4u * i + 1u], v.c * norm[4u * i + 2u], v.d * norm[4u * i + 3u]);
//#end
    put(v, i);
  }
//#if norm
  own = subgroupAdd(own);
  if (lane == 0u) { parts[subgroup] = own; }
//#end
  workgroupBarrier();
//#if norm
  var total = 0.0;
  for (var i = 0u; i < groups; i++) { total += parts[i]; }
  return inverseSqrt(total / COLUMNS + EPS);
//#else
  return 1.0;
//#end
}
//#end

/// All rows of this subgroup, EACH outputs at a time: `rows_of` names the rows of a turn,
/// `added` what belongs to their sums, `emit` takes these.
fn all_rows(t: u32, x_row: u32, group: u32, local: u32, subgroup: u32, groups: u32) {
  let strip = DEPTH * lanes;
  let chunks = (BLOCKS + strip - 1u) / strip;
//#if PACK
  let step = groups * EACH;
  var row = group * PACK + subgroup * EACH;
  let end = min(ROWS, (group + 1u) * PACK);
//#else
  let step = TURN * groups * EACH;
  var row = (group * groups + subgroup) * EACH;
  let end = ROWS;
//#end
  var rows = rows_of(row);
//#if PACKED
//#for i TAKES
  let e#i = x[x_row * WORDS + min(local + #iu * WG, WORDS - 1u)]; // before the weights: it is needed first
//#end
//#end
//#for i DEPTH
  var k#i = load(rows, lane + #iu * lanes);
//#end
//#if PACKED
  var own = 0.0;
//#for i TAKES
  own += keep(e#i, local + #iu * WG);
//#end
  let scale = kept(own, subgroup, groups);
//#else
  let scale = stage(x_row, local, subgroup, groups);
//#end
  while (row < end) {
    let following = rows_of(row + step);
    let others = added(t, row);
    var sum = Sums();
    for (var c = 0u; c < chunks; c++) {
      let b = c * strip + lane;
      let last = c + 1u == chunks;
      let ahead = select(b + strip, lane, last);
      if (last) { rows = following; }
      let more = !last || row + step < end;
//#for i DEPTH
      sum += product(k#i, b + #iu * lanes);
      if (more) { k#i = load(rows, ahead + #iu * lanes); }
//#end
    }
    let all = subgroupAdd(sum) * scale;
    if (lane == 0u) { emit(t, row, all + others); }
    row += step;
  }
}
