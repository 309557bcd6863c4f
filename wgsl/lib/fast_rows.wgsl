// Tier T2: rows of q4_0 or q4_1 weights in planes times one token. SPAN threads are a team, TEAMS of
// them a workgroup. A thread keeps HELD blocks of the token in registers for all rows of its team and
// reads those blocks of a quad of rows at a time, of the first one before anything else is done; of a
// packed token no thread waits for another until every row is summed. The quants of block b of a row lie
// in one vec4<u32>, as in the file; `scales` holds in a word the float16 scales of block b of two rows,
// with MINIMUM scale and minimum of one. Sums of eight threads go to workgroup memory, where a row's are
// added.
// The token comes as whole numbers of a step, a 16,256th of the largest of 16 elements: 128 a + b in two
// signed bytes. Products with nibbles are integers, four by an instruction, and exact; they stay below
// 2^23, so float32 takes them whole. The norm's 1 / rms multiplies the sums at the end.
// With PACKED `x` has these numbers already, as a kernel with PACK writes them: a of elements 0..15 of
// the blocks, of 16..31, then b likewise, then four words a block, the steps and the sums of its halves,
// then two, their sums of squares before the norm. Otherwise the workgroup makes them, in workgroup
// memory. With PACK a workgroup's outputs are whole halves of blocks.

const PARTS: u32 = SPAN / 8u; // sums of a row
const PITCH: u32 = 4u * QUADS + 4u; // so that eight threads and the next write to other banks
/// The token, a number's word after another and BLOCKS apart; then sums.
var<workgroup> words: array<u32, ROOM>;
var<workgroup> squares: array<f32, WG / 8u>;
//#if PACK
var<workgroup> made: array<f32, PACK>;
//#end

const MOST: f32 = 16256.0; // 127 * 128

alias Rows = vec4<u32>;
alias Sums = vec4<f32>;

/// A block of four rows on its way; f: its scales, and minima if there are any.
//#if MINIMUM
struct Load { p: vec4<u32>, q: vec4<u32>, r: vec4<u32>, s: vec4<u32>, f: vec4<u32> }
//#else
struct Load { p: vec4<u32>, q: vec4<u32>, r: vec4<u32>, s: vec4<u32>, f: vec2<u32> }
//#end

fn load(rows: Rows, block: u32) -> Load {
  let at = rows * BLOCKS + Rows(block);
//#if MINIMUM
  let f = vec4<u32>(scales[at.x], scales[at.y], scales[at.z], scales[at.w]);
//#else
  let i = (rows.xz >> vec2<u32>(1u)) * BLOCKS + vec2<u32>(block);
  let f = vec2<u32>(scales[i.x], scales[i.y]);
//#end
  return Load(w[at.x], w[at.y], w[at.z], w[at.w], f);
}

/// A block of the token: a and b of its halves, their steps, and what is added to the products: -8 times
/// the block's sum, with MINIMUM the sum to be multiplied with the minimum.
struct Held { a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, low: f32, high: f32, more: f32 }

/// steps: of the halves, then their sums. None if the block is not `within`: its products are 0.
fn held(a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, steps: vec4<f32>, within: bool) -> Held {
  let s = steps * select(0.0, 1.0, within);
//#if MINIMUM
  return Held(a, b, c, d, s.x, s.y, s.z + s.w);
//#else
  return Held(a, b, c, d, s.x, s.y, -8.0 * (s.z + s.w));
//#end
}

/// Products of a block of a row with the halves of a block of the token, in their steps.
fn dots(v: vec4<u32>, h: Held) -> vec2<i32> {
  let l = v & vec4<u32>(0x0f0f0f0fu);
  let u = (v >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
  var a = dot4I8Packed(l.x, h.a.x);
  a = dot4I8Packed(l.y, h.a.y) + a;
  a = dot4I8Packed(l.z, h.a.z) + a;
  a = dot4I8Packed(l.w, h.a.w) + a;
  var b = dot4I8Packed(u.x, h.b.x);
  b = dot4I8Packed(u.y, h.b.y) + b;
  b = dot4I8Packed(u.z, h.b.z) + b;
  b = dot4I8Packed(u.w, h.b.w) + b;
  var c = dot4I8Packed(l.x, h.c.x);
  c = dot4I8Packed(l.y, h.c.y) + c;
  c = dot4I8Packed(l.z, h.c.z) + c;
  c = dot4I8Packed(l.w, h.c.w) + c;
  var d = dot4I8Packed(u.x, h.d.x);
  d = dot4I8Packed(u.y, h.d.y) + d;
  d = dot4I8Packed(u.z, h.d.z) + d;
  d = dot4I8Packed(u.w, h.d.w) + d;
  return vec2<i32>(a * 128 + c, b * 128 + d);
}

/// `sum` and the products of a block of four rows.
fn products(sum: Sums, k: Load, h: Held) -> Sums {
  let p = dots(k.p, h);
  let q = dots(k.q, h);
  let r = dots(k.r, h);
  let s = dots(k.s, h);
  let low = Sums(vec4<i32>(p.x, q.x, r.x, s.x));
  let high = Sums(vec4<i32>(p.y, q.y, r.y, s.y));
  let e = vec4<f32>(unpack2x16float(k.f.x), unpack2x16float(k.f.y));
//#if MINIMUM
  let g = vec4<f32>(unpack2x16float(k.f.z), unpack2x16float(k.f.w));
  let all = fma(low, Sums(h.low), high * h.high);
  return fma(all, Sums(e.x, e.z, g.x, g.z), fma(Sums(h.more), Sums(e.y, e.w, g.y, g.w), sum));
//#else
  return fma(fma(low, Sums(h.low), fma(high, Sums(h.high), Sums(h.more))), e, sum);
//#end
}

/// Four numbers n as the low bits of 1.5 * 2^23 + 64 + n: additions round as they should and cost an
/// eighth of a conversion. 0 <= (n + 64) & 127 is b + 64, and (n + 64) >> 7 is a.
const MAGIC: f32 = 12582976.0;
const FOUR: u32 = 0x2d000100u; // times its bits, which wraps

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

/// Adds over the eight threads whose sums are handed over as one.
fn added_up(v: f32) -> f32 {
  var sum = v + subgroupShuffleXor(v, 1u);
  sum += subgroupShuffleXor(sum, 2u);
  return sum + subgroupShuffleXor(sum, 4u);
}

//#if PACK
/// Over the four threads of half a block.
fn added_four(v: f32) -> f32 {
  let sum = v + subgroupShuffleXor(v, 1u);
  return sum + subgroupShuffleXor(sum, 2u);
}

fn largest(v: f32) -> f32 {
  let most = max(v, subgroupShuffleXor(v, 1u));
  return max(most, subgroupShuffleXor(most, 2u));
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
  let own = added_four(dot(v, v));
  v *= by;
//#end
  let size = max(abs(v.xy), abs(v.zw));
  let most = largest(max(size.x, size.y));
  let n = numbers(v, select(0.0, MOST / most, most > 1.0e-30));
  let total = added_four(f32(bitcast<i32>(n.x + n.y + n.z + n.w - FOUR))); // exact: below 2^24
  if (4u * local < PACK && i < ROWS / 4u) {
    let all = ROWS / 32u;
    let base = t * 22u * all;
    let half = i / 4u % 2u;
    let at = base + 4u * (half * all + i / 8u) + i % 4u;
    packed[at] = larges(n);
    packed[at + 8u * all] = smalls(n);
    if (i % 4u == 0u) {
      let step = most / MOST;
      packed[base + 16u * all + i / 8u * 4u + half] = bitcast<u32>(step);
      packed[base + 16u * all + i / 8u * 4u + half + 2u] = bitcast<u32>(step * total);
//#if next
      packed[base + 20u * all + i / 4u] = bitcast<u32>(own);
//#end
    }
  }
}

//#end
//#if PACKED
const WORDS: u32 = BLOCKS / 2u * 11u; // vec4<u32> of a token

/// Block b of token t; none if it is not `within`.
fn block_of(t: u32, b: u32, within: bool) -> Held {
  let at = t * WORDS + b;
  return held(x[at], x[at + BLOCKS], x[at + 2u * BLOCKS], x[at + 3u * BLOCKS],
              bitcast<vec4<f32>>(x[at + 4u * BLOCKS]), within);
}

/// Sum of squares of block b of token t before the norm.
fn squares_of(t: u32, b: u32) -> f32 {
  let both = bitcast<vec4<f32>>(x[t * WORDS + 5u * BLOCKS + b / 2u]);
  let one = select(both.xy, both.zw, (b & 1u) == 1u);
  return one.x + one.y;
}
//#else
/// 16 elements of the token.
struct Half { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

//#if SPLITS
fn half(a: vec4<u32>, b: vec4<u32>) -> Half {
  return Half(vec4<f32>(unpack2x16float(a.x), unpack2x16float(a.y)),
              vec4<f32>(unpack2x16float(a.z), unpack2x16float(a.w)),
              vec4<f32>(unpack2x16float(b.x), unpack2x16float(b.y)),
              vec4<f32>(unpack2x16float(b.z), unpack2x16float(b.w)));
}

/// From the shares of the keys that attention_step wrote, each weighed by its mass in the head.
fn half_of(t: u32, i: u32) -> Half {
  let count = min(SPLITS, (run.L + SHARE - 1u) / SHARE);
  if (count == 1u) { return half(x[2u * i], x[2u * i + 1u]); }
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
    let h#s = half(p#s, q#s);
    mass += w#s;
    sum = Half(sum.a + w#s * h#s.a, sum.b + w#s * h#s.b, sum.c + w#s * h#s.c, sum.d + w#s * h#s.d);
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

/// Block b of the staged token; none if it is not `within`.
fn block_of(b: u32, within: bool) -> Held {
  let p = four(b);
  let q = four(4u * BLOCKS + b);
  let r = four(8u * BLOCKS + b);
  let s = four(12u * BLOCKS + b);
  let low = bitcast<f32>(words[16u * BLOCKS + b]);
  let high = bitcast<f32>(words[17u * BLOCKS + b]);
  return held(p, q, r, s, vec4<f32>(low, high, low * total(p, r), high * total(q, s)), within);
}

/// Sum of 16 numbers.
fn total(a: vec4<u32>, b: vec4<u32>) -> f32 {
  const ONE: u32 = 0x01010101u;
  let large = dot4I8Packed(a.x, ONE) + dot4I8Packed(a.y, ONE) + dot4I8Packed(a.z, ONE) + dot4I8Packed(a.w, ONE);
  let small = dot4I8Packed(b.x, ONE) + dot4I8Packed(b.y, ONE) + dot4I8Packed(b.z, ONE) + dot4I8Packed(b.w, ONE);
  return f32(large * 128 + small);
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
  let most = max(max(size.x, size.y), max(size.z, size.w));
  let by = select(0.0, MOST / most, most > 1.0e-30);
  let a = numbers(v.a, by);
  let b = numbers(v.b, by);
  let c = numbers(v.c, by);
  let d = numbers(v.d, by);
  let at = (i & 1u) * 4u * BLOCKS + i / 2u;
  put_four(vec4<u32>(larges(a), larges(b), larges(c), larges(d)), at);
  put_four(vec4<u32>(smalls(a), smalls(b), smalls(c), smalls(d)), 8u * BLOCKS + at);
  words[(16u + (i & 1u)) * BLOCKS + i / 2u] = bitcast<u32>(most / MOST);
}

/// Brings the token to workgroup memory.
fn stage(t: u32, local: u32) {
  var own = 0.0;
  for (var i = local; i < 2u * BLOCKS; i += WG) {
    var v = half_of(t, i);
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
    sum = products(sum, k#i, h#i);
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
