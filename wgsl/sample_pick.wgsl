// The token of each draw from its tiles' records: -1 where no token is legal, -2 where a logit is
// not finite. Ties go to the lowest id.
//#use philox
//#use draw

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
  let d = draw_of(group.x);
  let start = group.x * TILES * 4u;
  var peak = LOWEST;
  var peak_id = 0u;
  var flag = 0u;
  for (var i = 0u; i < TILES; i++) {
    let at = start + i * 4u;
    flag |= tiles[at + 3u];
    if ((tiles[at + 3u] & 1u) == 1u && bitcast<f32>(tiles[at]) > peak) {
      peak = bitcast<f32>(tiles[at]);
      peak_id = tiles[at + 1u];
    }
  }
  if ((flag & 2u) == 2u) {
    drawn[group.x] = -2;
    return;
  }
  if ((flag & 1u) == 0u) {
    drawn[group.x] = -1;
    return;
  }
  var best = LOWEST;
  var best_id = peak_id;
  if (d.temperature > 0.0) {
    for (var i = 0u; i < TILES; i++) {
      let at = start + i * 4u;
      if ((tiles[at + 3u] & 1u) == 0u) { continue; }
      let id = tiles[at + 2u];
      let words = philox(d.step, id / 4u, d.key);
      let z = max((logits[d.row * VOCAB + id] - peak) / d.temperature, -1.0e38) + gumbel(words[id % 4u]);
      if (z > best) {
        best = z;
        best_id = id;
      }
    }
  }
  drawn[group.x] = i32(best_id);
}
