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

/// The winner among the scores that the thresholds leave; all threads call it.
fn narrowed(d: Draw, lane: u32) {
  hold_tiles(false, lane);
  var limit = NONE;
  var last = VOCAB; // of the tokens whose key is `limit`, ids beyond it are out
  if (d.top_k > 0u) {
    limit = search(Look(false, false, false, NONE, 0u), vec2<u32>(d.top_k, 0u), 0u, lane);
  }
  if (d.share > 0u) {
    limit = search(Look(false, false, true, limit, 0u), vec2<u32>(), d.share, lane);
    last = search(Look(false, true, true, NONE, limit), left, 0u, lane);
  }
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

/// Log-probabilities to `told`; all threads call it.
fn tell(d: Draw, i: u32, token: u32, lane: u32) {
  let x = d.row * VOCAB;
  var raw = LOWEST;
  for (var tile = lane; tile < TILES; tile += WG) {
    raw = max(raw, bitcast<f32>(tiles[(i * TILES + tile) * RECORD + 4u]));
  }
  raw = most_of(raw, lane, 1u, lane).value;
  var mass = 0.0;
  for (var tile = lane; tile < TILES; tile += WG) {
    let at = (i * TILES + tile) * RECORD;
    mass += bitcast<f32>(tiles[at + 5u]) * exp(bitcast<f32>(tiles[at + 4u]) - raw);
  }
  mass = sum_of(mass, lane);
  let total = log(mass);
  if (lane == 0u) { told[i * 48u] = bitcast<u32>((logits[x + token] - raw) - total); }
  let count = min(u32(d.told), min(VOCAB, 20u));
  if (count == 0u) { return; }
  hold_tiles(true, lane);
  let limit = search(Look(true, false, false, NONE, 0u), vec2<u32>(count, 0u), 0u, lane);
  let last = search(Look(true, true, false, NONE, limit), left, 0u, lane);
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
  var token = known.y;
  if (d.temperature > 0.0) {
    best = LOWEST;
    best_id = NONE;
    if (truncates(d)) {
      narrowed(d, lane);
    } else {
      gathered(lane);
    }
    let won = most_of(best, best_id, select(1u, 0u, best_id == NONE), lane);
    token = select(won.id, token, won.id == NOBODY);
  }
  if (lane == 0u) {
    winner = token;
    drawn[group.x] = i32(token);
  }
  if (d.told < 0) { return; }
  tell(d, group.x, workgroupUniformLoad(&winner), lane);
}
