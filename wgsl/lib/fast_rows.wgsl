// Tier T2: rows of q4_0 or q4_1 weights in planes times one token. SPAN threads are a team, TEAMS of
// them a workgroup. A thread keeps HELD blocks of the token in registers for all rows of its team and
// reads those blocks of a quad of rows at a time, of the first one before anything else is done; of a
// packed token no thread waits for another until every row is summed. The quants of block b of a row lie
// in one vec4<u32>, as in the file; `scales` holds a float16 scale a block, with MINIMUM a scale and a
// minimum. Sums of eight threads go to workgroup memory, where a row's are added.
// The token comes as whole numbers of a step, a 16,256th of the largest of its block: 128 a + b in two
// signed bytes. Products with nibbles are integers, four by an instruction, and exact; they stay below
// 2^23, so float32 takes them whole. The norm's 1 / rms multiplies the sums at the end.
// With PACKED `x` has these numbers already, as a kernel with PACK writes them: a of elements 0..15 of
// the blocks, of 16..31, then b likewise, then two words a block, step and sum, then two more, the sum
// of squares before the norm and none. Otherwise the workgroup makes them, in workgroup memory. With
// PACK a workgroup's outputs are whole blocks.

const PARTS: u32 = SPAN / 8u; // sums of a row
const PITCH: u32 = 4u * QUADS + 4u; // so that eight threads and the next write to other banks
/// The token, a number's word after another and BLOCKS apart; then sums.
var<workgroup> words: array<u32, ROOM>;
var<workgroup> squares: array<f32, 128>;
//#if PACK
var<workgroup> made: array<f32, PACK>;
//#end

const MOST: f32 = 16256.0; // 127 * 128

alias Rows = vec4<u32>;
alias Sums = vec4<f32>;

/// A block of four rows on its way.
struct Load { p: vec4<u32>, q: vec4<u32>, r: vec4<u32>, s: vec4<u32>, f: Rows }

fn load(rows: Rows, block: u32) -> Load {
  let at = rows * BLOCKS + Rows(block);
//#if MINIMUM
  let i = at;
//#else
  let i = at >> Rows(1u);
//#end
  return Load(w[at.x], w[at.y], w[at.z], w[at.w], Rows(scales[i.x], scales[i.y], scales[i.z], scales[i.w]));
}

/// A block of the token: a and b of its halves, step, and what its sum takes away: with MINIMUM step
/// times sum, else 8 sums.
struct Held {
  a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, step: f32,
//#if MINIMUM
  less: f32,
//#else
  less: i32,
//#end
}

/// `step` is 0 for a thread that has no such block: its products are 0.
fn held(a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, step: f32, total: i32) -> Held {
//#if MINIMUM
  return Held(a, b, c, d, step, step * f32(total));
//#else
  return Held(a, b, c, d, step, -8 * total);
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

/// Products of a block of four rows. high: by how much their scales must be shifted.
fn products(k: Load, h: Held, high: u32) -> Sums {
//#if MINIMUM
  let begun = 0;
  let f = k.f;
//#else
  let begun = h.less;
  let f = k.f >> Rows(high);
//#end
  let e = vec4<f32>(unpack2x16float(f.x), unpack2x16float(f.y));
  let g = vec4<f32>(unpack2x16float(f.z), unpack2x16float(f.w));
  let all = vec4<f32>(vec4<i32>(dots(k.p, h.a, h.b, h.c, h.d, begun), dots(k.q, h.a, h.b, h.c, h.d, begun),
                                dots(k.r, h.a, h.b, h.c, h.d, begun), dots(k.s, h.a, h.b, h.c, h.d, begun)));
  let sum = all * Sums(e.x, e.z, g.x, g.z) * h.step;
//#if MINIMUM
  return sum + h.less * Sums(e.y, e.w, g.y, g.w);
//#else
  return sum;
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

/// Adds or compares over the eight threads of a block.
fn added_up(v: f32) -> f32 {
  var sum = v + subgroupShuffleXor(v, 1u);
  sum += subgroupShuffleXor(sum, 2u);
  return sum + subgroupShuffleXor(sum, 4u);
}

//#if PACK
fn largest(v: f32) -> f32 {
  var most = max(v, subgroupShuffleXor(v, 1u));
  most = max(most, subgroupShuffleXor(most, 2u));
  return max(most, subgroupShuffleXor(most, 4u));
}

/// What the thread's outputs are multiplied with; asked for before it is needed.
fn factors(group: u32, local: u32) -> vec4<f32> {
//#if next
  return next[min(group * PACK / 4u + local, ROWS / 4u - 1u)];
//#else
  return vec4<f32>(1.0);
//#end
}

/// Writes the workgroup's outputs of token t to `packed`, four a thread.
fn pack(t: u32, group: u32, local: u32, by: vec4<f32>) {
  workgroupBarrier();
  let j = min(4u * local, PACK - 4u);
  var v = vec4<f32>(made[j], made[j + 1u], made[j + 2u], made[j + 3u]);
  let i = group * PACK / 4u + local;
//#if next
  let own = added_up(dot(v, v));
  v *= by;
//#end
  let size = max(abs(v.xy), abs(v.zw));
  let most = largest(max(size.x, size.y));
  let n = numbers(v, select(0.0, MOST / most, most > 1.0e-30));
  let total = i32(added_up(f32(bitcast<i32>(n.x + n.y + n.z + n.w - FOUR)))); // exact: below 2^24
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
      packed[base + 18u * all + i / 4u] = bitcast<u32>(own);
//#end
    }
  }
}

//#end
//#if PACKED
const WORDS: u32 = 5u * BLOCKS; // vec4<u32> of a token

/// Block b of token t; none if it is not `within`.
fn block_of(t: u32, b: u32, within: bool) -> Held {
  let at = t * WORDS + b;
  let both = x[t * WORDS + 4u * BLOCKS + b / 2u];
  let one = select(both.xy, both.zw, (b & 1u) == 1u);
  return held(x[at], x[at + BLOCKS], x[at + 2u * BLOCKS], x[at + 3u * BLOCKS],
              select(0.0, bitcast<f32>(one.x), within), bitcast<i32>(one.y));
}

/// Sum of squares of block b of token t before the norm.
fn squares_of(t: u32, b: u32) -> f32 {
  let both = x[t * WORDS + 9u * BLOCKS / 2u + b / 2u];
  return bitcast<f32>(select(both.x, both.z, (b & 1u) == 1u));
}
//#else
/// Block b of the staged token; none if it is not `within`.
fn block_of(b: u32, within: bool) -> Held {
  return held(four(b), four(4u * BLOCKS + b), four(8u * BLOCKS + b), four(12u * BLOCKS + b),
              select(0.0, bitcast<f32>(words[16u * BLOCKS + b]), within), bitcast<i32>(words[17u * BLOCKS + b]));
}

fn four(at: u32) -> vec4<u32> {
  return vec4<u32>(words[at], words[at + BLOCKS], words[at + 2u * BLOCKS], words[at + 3u * BLOCKS]);
}

fn put_four(v: vec4<u32>, at: u32) {
  words[at] = v.x;
  words[at + BLOCKS] = v.y;
  words[at + 2u * BLOCKS] = v.z;
  words[at + 3u * BLOCKS] = v.w;
}

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
  let at = (i & 1u) * 4u * BLOCKS + i / 2u;
  put_four(vec4<u32>(larges(a), larges(b), larges(c), larges(d)), at);
  put_four(vec4<u32>(smalls(a), smalls(b), smalls(c), smalls(d)), 8u * BLOCKS + at);
  let sum = a + b + c + d;
  var total = bitcast<i32>(sum.x + sum.y + sum.z + sum.w - SIXTEEN);
  total += subgroupShuffleXor(total, 1u);
  if ((i & 1u) == 0u) {
    words[16u * BLOCKS + i / 2u] = bitcast<u32>(most / MOST);
    words[17u * BLOCKS + i / 2u] = bitcast<u32>(total);
  }
}

/// Brings the token to workgroup memory.
fn stage(t: u32, local: u32) {
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
  own = added_up(own);
  if (local % 8u == 0u) { squares[local / 8u] = own; }
//#end
  workgroupBarrier();
}
//#end

/// Hands the sums of a quad to workgroup memory, those of eight threads as one.
fn hand_over(sum: Sums, quad: u32, group: u32, local: u32) {
  let odd = (local & 1u) == 1u;
  let second = (local & 2u) == 2u;
  let two = select(sum.xy, sum.zw, odd) + subgroupShuffleXor(select(sum.zw, sum.xy, odd), 1u);
  var one = select(two.x, two.y, second) + subgroupShuffleXor(select(two.y, two.x, second), 2u);
  one += subgroupShuffleXor(one, 4u);
  if ((local & 4u) == 0u) {
    words[group * PITCH + 4u * quad + 2u * (local & 1u) + ((local >> 1u) & 1u)] = bitcast<u32>(one);
  }
}

/// The sum of the workgroup's row i, in the order of its quads, before it is multiplied.
fn sum_of(i: u32) -> f32 {
  var sum = 0.0;
  for (var g = 0u; g < PARTS; g++) { sum += bitcast<f32>(words[g * PITCH + i]); }
  return sum;
}

/// All rows of the workgroup, of which `rows_of` names a quad's; `sum_of` has their sums afterwards.
/// Returns what these are multiplied with.
fn all_rows(t: u32, group: u32, local: u32) -> f32 {
  let team = local / SPAN;
  let part = local % SPAN;
  let first = group * QUADS + team;
  let high = (part & 1u) * 16u;
//#for i HELD
  let b#i = min(part + #iu * SPAN, BLOCKS - 1u);
//#end
  let rows = rows_of(first);
//#for i HELD
  var k#i = load(rows, b#i);
//#end
//#if PACKED
//#for i HELD
  let h#i = block_of(t, b#i, part + #iu * SPAN < BLOCKS);
//#end
//#if EPS
  var own = 0.0;
//#for i HELD
  own += select(0.0, squares_of(t, b#i), part + #iu * SPAN < BLOCKS);
//#end
  own = added_up(own);
  if (local < SPAN && local % 8u == 0u) { squares[local / 8u] = own; }
//#end
//#else
  stage(t, local);
//#for i HELD
  let h#i = block_of(b#i, part + #iu * SPAN < BLOCKS);
//#end
  workgroupBarrier(); // sums go where the token was
//#end
  for (var quad = team; quad < QUADS; quad += TEAMS) {
    let next = quad + TEAMS;
    let following = rows_of(group * QUADS + next);
    var sum = Sums();
//#for i HELD
    sum += products(k#i, h#i, high);
    if (next < QUADS) { k#i = load(following, b#i); }
//#end
    hand_over(sum, quad, part / 8u, local);
  }
  workgroupBarrier();
//#if EPS
  var total = 0.0;
//#if PACKED
  for (var i = 0u; i < PARTS; i++) { total += squares[i]; }
//#else
  for (var i = 0u; i < WG / 8u; i++) { total += squares[i]; }
//#end
  return inverseSqrt(total / COLUMNS + EPS);
//#else
  return 1.0;
//#end
}
