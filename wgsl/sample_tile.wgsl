// One tile of the vocabulary for one draw: the most likely legal token, and the one that wins with
// the draw's noise. Record of 4 words: largest logit, its id, the winner's id, 1 = a legal token
// was seen | 2 = a logit was not finite. Scores are taken from the tile's own maximum, so that
// they are small numbers; `sample_pick` takes them again from the row's.
//#use philox
//#use draw

var<workgroup> peaks: array<f32, WG>;
var<workgroup> peak_ids: array<u32, WG>;
var<workgroup> bests: array<f32, WG>;
var<workgroup> best_ids: array<u32, WG>;
var<workgroup> flags: array<u32, WG>;

/// Bit j: token 4 * block + j may be drawn.
fn legal(d: Draw, block: u32) -> u32 {
  var bits = 15u;
  if (d.mask >= 0) { bits = (mask[u32(d.mask) * WORDS + block / 8u] >> ((block % 8u) * 4u)) & 15u; }
  let left = VOCAB - 4u * block;
  return bits & select((1u << left) - 1u, 15u, left >= 4u);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let d = draw_of(group.y);
  let start = group.x * TILE;
  let end = min(start + TILE, VOCAB);
  let x = d.row * VOCAB;
  var peak = LOWEST;
  var peak_id = 0u;
  var flag = 0u;
  for (var block = start / 4u + lane; block * 4u < end; block += WG) {
    let open = legal(d, block);
    for (var j = 0u; j < 4u; j++) {
      let id = block * 4u + j;
      if (id >= end) { break; }
      let v = logits[x + id];
      if ((bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u) { flag |= 2u; }
      if (((open >> j) & 1u) == 1u) {
        flag |= 1u;
        if (v > peak) {
          peak = v;
          peak_id = id;
        }
      }
    }
  }
  peaks[lane] = peak;
  peak_ids[lane] = peak_id;
  flags[lane] = flag;
  workgroupBarrier();
  peak = LOWEST;
  peak_id = 0u;
  flag = 0u;
  for (var i = 0u; i < WG; i++) {
    flag |= flags[i];
    if ((flags[i] & 1u) == 1u && (peaks[i] > peak || (peaks[i] == peak && peak_ids[i] < peak_id))) {
      peak = peaks[i];
      peak_id = peak_ids[i];
    }
  }
  var best = LOWEST;
  var best_id = peak_id;
  if (d.temperature > 0.0) {
    for (var block = start / 4u + lane; block * 4u < end; block += WG) {
      let open = legal(d, block);
      if (open == 0u) { continue; }
      let words = philox(d.step, block, d.key);
      for (var j = 0u; j < 4u; j++) {
        let id = block * 4u + j;
        if (((open >> j) & 1u) == 0u || id >= end) { continue; }
        let z = max((logits[x + id] - peak) / d.temperature, -1.0e38) + gumbel(words[j]);
        if (z > best) {
          best = z;
          best_id = id;
        }
      }
    }
  }
  bests[lane] = best;
  best_ids[lane] = best_id;
  workgroupBarrier();
  if (lane != 0u) { return; }
  best = LOWEST;
  best_id = peak_id;
  for (var i = 0u; i < WG; i++) {
    if (bests[i] > best || (bests[i] == best && best > LOWEST && best_ids[i] < best_id)) {
      best = bests[i];
      best_id = best_ids[i];
    }
  }
  let to = (group.y * TILES + group.x) * 4u;
  tiles[to] = bitcast<u32>(peak);
  tiles[to + 1u] = peak_id;
  tiles[to + 2u] = best_id;
  tiles[to + 3u] = flag;
}
