// The token of each draw from its tiles' records: -1 where no token is legal, -2 where a logit is
// not finite. Ties go to the lowest id. top_k, top_p and min_p narrow the set by thresholds first.
// Where log-probabilities are wanted, `told` gets that of the token, then id and log-probability of
// the most likely ones, all of the raw logits: 48 words a draw.
//#use philox
//#use draw
//#use most
//#use select

var<workgroup> seen: vec3<u32>; // the largest score, its id, the flags of all tiles
var<workgroup> winner: u32;
var<private> best: f32; // of this thread
var<private> best_id: u32;
var<workgroup> listed: atomic<u32>;
var<workgroup> list: array<u32, 20>;

/// The winner among the scores that the thresholds leave; of keys that are `limit`, ids beyond `last`
/// are out.
fn narrowed(d: Draw, limit: u32, last: u32, lane: u32) {
  let look = Look(false, false, false, limit, 0u);
  for (var tile = 0u; tile < TILES; tile++) {
    if (tile_keys[tile] > limit) { continue; }
    let end = min((tile + 1u) * TILE, VOCAB);
    for (var id = tile * TILE + lane; id < end; id += WG) {
      let key = token_key(look, id);
      let s = -bitcast<f32>(key);
      if (key == NONE || key > limit || (key == limit && id > last) || s < d.least) { continue; }
      let z = s + gumbel(philox(d.step, id / 4u, d.key)[id % 4u]);
      if (z > best) {
        best = z;
        best_id = id;
      }
    }
  }
}

/// The winner among the tiles' winners.
fn gathered(lane: u32) {
  for (var tile = lane; tile < TILES; tile += WG) {
    let at = (base / VOCAB * TILES + tile) * RECORD;
    if ((tiles[at + 6u] & 1u) == 0u) { continue; }
    let id = tiles[at + 2u];
    let noise = gumbel(philox(one.step, id / 4u, one.key)[id % 4u]);
    let z = tempered(one, bitcast<f32>(tiles[at + 3u]), zero) + noise;
    if (z > best) {
      best = z;
      best_id = id;
    }
  }
}

/// Log-probabilities to `told`, of the token and of `count` others; all threads call it.
fn tell(d: Draw, i: u32, token: u32, count: u32, limit: u32, last: u32, lane: u32) {
  let x = d.row * VOCAB;
  var raw = LOWEST;
  for (var tile = 0u; tile < TILES; tile++) { raw = max(raw, tile_masses[tile].x); }
  var mass = 0.0;
  for (var tile = 0u; tile < TILES; tile++) {
    mass += tile_masses[tile].y * exp(tile_masses[tile].x - raw);
  }
  let total = log(mass);
  if (lane == 0u) { told[i * 48u] = bitcast<u32>((logits[x + token] - raw) - total); }
  if (count == 0u) { return; }
  if (lane == 0u) { atomicStore(&listed, 0u); }
  workgroupBarrier();
  let look = Look(true, false, false, limit, 0u);
  for (var tile = 0u; tile < TILES; tile++) {
    if (tile_keys[tile] > limit) { continue; }
    let end = min((tile + 1u) * TILE, VOCAB);
    for (var id = tile * TILE + lane; id < end; id += WG) {
      let key = token_key(look, id);
      if (key < limit || (key == limit && id <= last)) {
        list[min(atomicAdd(&listed, 1u), 19u)] = id;
      }
    }
  }
  workgroupBarrier();
  if (lane >= count) { return; }
  let id = list[lane];
  let v = logits[x + id];
  var rank = 0u;
  for (var j = 0u; j < count; j++) {
    let other = logits[x + list[j]];
    if (other > v || (other == v && list[j] < id)) { rank++; }
  }
  told[i * 48u + 2u + 2u * rank] = id;
  told[i * 48u + 3u + 2u * rank] = bitcast<u32>((v - raw) - total);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32,
//#if SUBGROUPS
  @builtin(subgroup_invocation_id) own: u32, @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32
//#end
) {
//#if SUBGROUPS
  own_lane = own;
  own_group = subgroup;
  own_groups = subgroups;
//#end
  one = draw_of(group.x);
  base = group.x * VOCAB;
  var own_best = LOWEST;
  var own_id = 0u;
  var own_flag = 0u;
  for (var tile = lane; tile < TILES; tile += WG) {
    let at = (group.x * TILES + tile) * RECORD;
    let v = bitcast<f32>(tiles[at]);
    let id = tiles[at + 1u];
    let flag = tiles[at + 6u];
    own_flag |= flag;
    if ((flag & 1u) == 1u && v > own_best) {
      own_best = v;
      own_id = id;
    }
  }
  let all = most_of(own_best, own_id, own_flag, lane);
  if (lane == 0u) { seen = vec3<u32>(bitcast<u32>(all.value), all.id, all.flag); }
  let known = workgroupUniformLoad(&seen);
  zero = bitcast<f32>(known.x);
  if (known.z != 1u) {
    if (lane == 0u) { drawn[group.x] = select(-1, -2, (known.z & 2u) == 2u); }
    return;
  }
  let d = draw_of(group.x); // for branches: `one` is not the same in all threads by its type
  let count = min(u32(max(d.told, 0)), min(VOCAB, 20u));
  let narrow = truncates(d);
  best = LOWEST;
  best_id = NONE;
  // Searches: top_k, the share of the mass, the last id at its limit; then limit and last id of what
  // is told. They are one loop, since compilers copy a function to each place that calls it.
  var limits = array<u32, 2>(NONE, NONE);
  var lasts = array<u32, 2>(VOCAB, NONE);
  for (var job = 0u; job < 5u; job++) {
    let telling = job >= 3u;
    let begins = (job == 0u && narrow) || (job == 3u && d.told >= 0);
    if (begins) { hold_tiles(telling, lane); }
    let asked = select(d.share > 0u, d.top_k > 0u, job == 0u);
    if (select(narrow && asked, count > 0u, telling)) {
      let kind = select(0u, 1u, telling);
      let by_id = job == 2u || job == 4u;
      let by_mass = job == 1u || job == 2u;
      let look = Look(telling, by_id, by_mass, select(NONE, limits[0], job == 1u), select(0u, limits[kind], by_id));
      let first = vec2<u32>(select(select(0u, d.top_k, job == 0u), count, telling), 0u);
      let share = select(0u, d.share, job == 1u);
      let end = search(look, select(first, left, by_id), share, lane);
      if (by_id) { lasts[kind] = end; } else { limits[kind] = end; }
    }
    if (job == 2u && narrow) { narrowed(d, limits[0], lasts[0], lane); }
  }
  var token = known.y;
  if (d.temperature > 0.0) {
    if (!narrow) { gathered(lane); }
    let won = most_of(best, best_id, select(1u, 0u, best_id == NONE), lane);
    token = select(won.id, token, won.id == NOBODY);
  }
  if (lane == 0u) {
    winner = token;
    drawn[group.x] = i32(token);
  }
  if (d.told < 0) { return; }
  tell(d, group.x, workgroupUniformLoad(&winner), count, limits[1], lasts[1], lane);
}
