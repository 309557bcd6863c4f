// The token of each draw from its tiles' records: -1 where no token is legal, -2 where a logit is
// not finite. Ties go to the lowest id. top_k, top_p and min_p narrow the set by thresholds first.
// Where log-probabilities are wanted, `told` gets that of the token, then id and log-probability of
// the most likely ones, all of the raw logits: 48 words a draw.
//#use philox
//#use draw
//#use select

var<workgroup> bests: array<f32, WG>;
var<workgroup> best_ids: array<u32, WG>;
var<workgroup> winner: u32;
var<workgroup> listed: atomic<u32>;
var<workgroup> list: array<u32, 20>;

/// The winner among the scores that the thresholds leave; all threads call it.
fn narrowed(d: Draw, lane: u32) {
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
  var best = LOWEST;
  var best_id = NONE;
  for (var tile = 0u; tile < TILES; tile++) {
    if (tile_key(look, tile) > limit) { continue; }
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
  bests[lane] = best;
  best_ids[lane] = best_id;
}

/// The winner among the tiles' winners.
fn gathered(lane: u32) {
  var best = LOWEST;
  var best_id = NONE;
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
  bests[lane] = best;
  best_ids[lane] = best_id;
}

/// Log-probabilities to `told`; all threads call it.
fn tell(d: Draw, i: u32, token: u32, lane: u32) {
  let x = d.row * VOCAB;
  var raw = LOWEST;
  for (var tile = 0u; tile < TILES; tile++) {
    raw = max(raw, bitcast<f32>(tiles[(i * TILES + tile) * RECORD + 4u]));
  }
  var mass = 0.0;
  for (var tile = 0u; tile < TILES; tile++) {
    let at = (i * TILES + tile) * RECORD;
    mass += bitcast<f32>(tiles[at + 5u]) * exp(bitcast<f32>(tiles[at + 4u]) - raw);
  }
  let total = log(mass);
  if (lane == 0u) { told[i * 48u] = bitcast<u32>((logits[x + token] - raw) - total); }
  let count = min(u32(d.told), min(VOCAB, 20u));
  if (count == 0u) { return; }
  let limit = search(Look(true, false, false, NONE, 0u), vec2<u32>(count, 0u), 0u, lane);
  let last = search(Look(true, true, false, NONE, limit), left, 0u, lane);
  if (lane == 0u) { atomicStore(&listed, 0u); }
  workgroupBarrier();
  let look = Look(true, false, false, limit, 0u);
  for (var tile = 0u; tile < TILES; tile++) {
    if (tile_key(look, tile) > limit) { continue; }
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
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  one = draw_of(group.x);
  base = group.x * VOCAB;
  let start = group.x * TILES * RECORD;
  var peak_id = 0u;
  var flag = 0u;
  zero = LOWEST;
  for (var tile = 0u; tile < TILES; tile++) {
    let at = start + tile * RECORD;
    flag |= tiles[at + 6u];
    if ((tiles[at + 6u] & 1u) == 1u && bitcast<f32>(tiles[at]) > zero) {
      zero = bitcast<f32>(tiles[at]);
      peak_id = tiles[at + 1u];
    }
  }
  if (flag != 1u) {
    if (lane == 0u) { drawn[group.x] = select(-1, -2, (flag & 2u) == 2u); }
    return;
  }
  let d = draw_of(group.x); // for branches: `one` is not the same in all threads by its type
  if (d.temperature > 0.0) {
    if (truncates(d)) {
      narrowed(d, lane);
    } else {
      gathered(lane);
    }
  }
  workgroupBarrier();
  if (lane == 0u) {
    var best = LOWEST;
    var best_id = peak_id;
    if (d.temperature > 0.0) {
      for (var i = 0u; i < WG; i++) {
        if (best_ids[i] == NONE) { continue; }
        if (bests[i] > best || (bests[i] == best && best_ids[i] < best_id)) {
          best = bests[i];
          best_id = best_ids[i];
        }
      }
    }
    winner = best_id;
    drawn[group.x] = i32(best_id);
  }
  if (d.told < 0) { return; }
  tell(d, group.x, workgroupUniformLoad(&winner), lane);
}
