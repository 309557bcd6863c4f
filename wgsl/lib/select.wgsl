// The k-th of all tokens, or the one where a share of the mass is reached, without sorting: four
// passes over the digits of a 32-bit key, the greatest score first. Counts and masses are integers
// of 64 bits (low, high), masses in 2^-31 of the most likely token's, so no order of additions
// shows. Tiles that lie beyond the digit at hand are passed over by their records.

const BINS: u32 = 1024u;
const NONE: u32 = 0xffffffffu;

/// What a pass looks at: keys of scores or of raw logits, or ids of those whose key is `ties`.
struct Look { raw: bool, by_id: bool, by_mass: bool, limit: u32, ties: u32 }

var<workgroup> bins: array<atomic<u32>, 2u * BINS>;
var<workgroup> partial: array<vec2<u32>, WG>;
var<workgroup> tile_keys: array<u32, TILES>; // of each tile's most likely token
var<workgroup> tile_masses: array<vec2<f32>, TILES>; // largest raw logit, sum of exponentials from it
var<workgroup> found: u32;
var<workgroup> found_before: vec2<u32>;
var<private> one: Draw;
var<private> base: u32;  // of this draw in `scores`
var<private> zero: f32;  // the largest score
var<private> left: vec2<u32>; // of the last search: what is wanted of those that tie at its key

fn plus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn minus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn less(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }

/// `share` of 2^24 of a, at least 1.
fn part_of(a: vec2<u32>, share: u32) -> vec2<u32> {
  let low = wide_product(a.x, share); // (high, low)
  let high = wide_product(a.y, share);
  let middle = plus(vec2<u32>(low.x, 0u), vec2<u32>(high.y, high.x));
  let part = vec2<u32>((low.y >> 24u) | (middle.x << 8u), (middle.x >> 24u) | (middle.y << 8u));
  return select(part, vec2<u32>(1u, 0u), part.x == 0u && part.y == 0u);
}

/// Keys grow as scores fall.
fn score_key(score: f32) -> u32 { return bitcast<u32>(abs(tempered(one, score, zero))); }
fn raw_key(v: f32) -> u32 {
  let bits = select(bitcast<u32>(v), 0u, v == 0.0); // one zero
  return select(0x7fffffffu - bits, bits, (bits >> 31u) == 1u);
}

fn tile_key(raw: bool, tile: u32) -> u32 {
  let at = (base / VOCAB * TILES + tile) * RECORD;
  if (raw) { return raw_key(bitcast<f32>(tiles[at + 4u])); }
  if ((tiles[at + 6u] & 1u) == 0u) { return NONE; }
  return score_key(bitcast<f32>(tiles[at]));
}

/// Before searches of one kind of key; all threads call it.
fn hold_tiles(raw: bool, lane: u32) {
  workgroupBarrier();
  for (var tile = lane; tile < TILES; tile += WG) {
    let at = (base / VOCAB * TILES + tile) * RECORD + 4u;
    tile_keys[tile] = tile_key(raw, tile);
    tile_masses[tile] = bitcast<vec2<f32>>(vec2<u32>(tiles[at], tiles[at + 1u]));
  }
  workgroupBarrier();
}

fn token_key(look: Look, id: u32) -> u32 {
  if (look.raw) { return raw_key(logits[one.row * VOCAB + id]); }
  let bits = scores[base + id];
  if (bits == ILLEGAL) { return NONE; }
  return score_key(bitcast<f32>(bits));
}

fn weight_of(look: Look, key: u32) -> u32 {
  if (!look.by_mass) { return 1u; }
  return u32(exp(-bitcast<f32>(key)) * 2147483648.0);
}

/// Counts what falls into each digit of the keys that begin with `prefix`.
fn tally(look: Look, shift: u32, width: u32, prefix: u32, lane: u32) {
  var most = look.limit;
  if (look.by_id) {
    most = look.ties;
  } else if (width + shift < 32u) {
    most = min(most, (prefix << (width + shift)) | ((1u << (width + shift)) - 1u));
  }
  for (var tile = 0u; tile < TILES; tile++) {
    if (tile_keys[tile] > most) { continue; }
    let end = min((tile + 1u) * TILE, VOCAB);
    for (var id = tile * TILE + lane; id < end; id += WG) {
      var key = token_key(look, id);
      if (key > most || key == NONE) { continue; }
      let weight = weight_of(look, key);
      if (look.by_id) {
        if (key != look.ties) { continue; }
        key = id;
      }
      if (width + shift < 32u && (key >> (width + shift)) != prefix) { continue; }
      let bin = 2u * ((key >> shift) & ((1u << width) - 1u));
      let old = atomicAdd(&bins[bin], weight);
      if (old + weight < old) { atomicAdd(&bins[bin + 1u], 1u); }
    }
  }
}

fn bin_of(i: u32) -> vec2<u32> {
  return vec2<u32>(atomicLoad(&bins[2u * i]), atomicLoad(&bins[2u * i + 1u]));
}

/// The key at which so many (or such a mass, or `share` of all the mass) is reached, NONE if there
/// are not so many. All threads call it.
fn search(look: Look, wanted: vec2<u32>, share: u32, lane: u32) -> u32 {
  var prefix = 0u;
  var goal = wanted;
  for (var turn = 0u; turn < 4u; turn++) {
    let shift = select(0u, 22u - 10u * turn, turn < 3u);
    let width = select(2u, 10u, turn < 3u);
    for (var i = lane; i < 2u * BINS; i += WG) { atomicStore(&bins[i], 0u); }
    if (lane == 0u) { found = NONE; }
    workgroupBarrier();
    tally(look, shift, width, prefix, lane);
    workgroupBarrier();
    const EACH = BINS / WG;
    var own = vec2<u32>();
    for (var j = 0u; j < EACH; j++) { own = plus(own, bin_of(lane * EACH + j)); }
    partial[lane] = own;
    workgroupBarrier();
    var before = vec2<u32>();
    var total = vec2<u32>();
    for (var j = 0u; j < WG; j++) {
      if (j == lane) { before = total; }
      total = plus(total, partial[j]);
    }
    if (share > 0u && turn == 0u) { goal = part_of(total, share); }
    if (less(before, goal) && !less(plus(before, own), goal)) {
      for (var j = 0u; j < EACH; j++) {
        let next = plus(before, bin_of(lane * EACH + j));
        if (!less(next, goal)) {
          found = lane * EACH + j;
          found_before = before;
          break;
        }
        before = next;
      }
    }
    let bin = workgroupUniformLoad(&found);
    if (bin == NONE) { return NONE; }
    goal = minus(goal, found_before);
    prefix = (prefix << width) | bin;
    workgroupBarrier();
  }
  left = goal;
  return prefix;
}
