// One tile of the vocabulary for one draw: bias and penalties, the most likely legal token, and the
// one that wins with the draw's noise. Noise is added to differences from the tile's own maximum,
// so that they are small numbers; `sample_pick` takes them again from the row's. Where top_k, top_p
// or min_p apply, scores of all tokens go to `scores`; where log-probabilities are wanted, the mass
// of the raw logits to the record. An entry is 3 words: id, bias (float32), count << 1 | penalised.
//#use philox
//#use draw
//#use most

var<workgroup> values: array<f32, TILE>;

/// Bit j: token 4 * block + j may be drawn.
fn legal(d: Draw, block: u32) -> u32 {
  var bits = 15u;
  if (d.mask >= 0) { bits = (mask[u32(d.mask) * WORDS + block / 8u] >> ((block % 8u) * 4u)) & 15u; }
  let left = VOCAB - 4u * block;
  return bits & select((1u << left) - 1u, 15u, left >= 4u);
}

fn adjusted(d: Draw, v: f32, bias: f32, marks: u32) -> f32 {
  var z = v + bias;
  if ((marks & 1u) == 1u) {
    z = select(z * d.repetition, z / d.repetition, z > 0.0);
    z -= d.frequency * f32(marks >> 1u) + select(0.0, d.presence, marks > 1u);
  }
  return z;
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
  let d = draw_of(group.y);
  let start = group.x * TILE;
  let end = min(start + TILE, VOCAB);
  let x = d.row * VOCAB;
  var flag = 0u;
  var raw = LOWEST;
  for (var first = start + lane; first < end; first += LOADS * WG) { // so many on their way
//#for i LOADS
    let v#i = logits[x + min(first + #iu * WG, end - 1u)];
//#end
//#for i LOADS
    if ((bitcast<u32>(v#i) & 0x7f800000u) == 0x7f800000u) { flag |= 2u; }
    raw = max(raw, v#i);
    if (first + #iu * WG < end) { values[first + #iu * WG - start] = v#i; }
//#end
  }
  var mass = 0.0;
  if (d.told >= 0) {
    raw = most_of(raw, lane, 1u, lane).value;
    for (var id = start + lane; id < end; id += WG) { mass += exp(logits[x + id] - raw); }
    mass = sum_of(mass, lane);
  }
  workgroupBarrier();
  for (var e = d.first + lane; e < d.first + d.count; e += WG) {
    let id = entries[3u * e];
    if (id < start || id >= end) { continue; }
    values[id - start] = adjusted(d, values[id - start], bitcast<f32>(entries[3u * e + 1u]), entries[3u * e + 2u]);
  }
  workgroupBarrier();
  var peak = LOWEST;
  var peak_id = 0u;
  let all = truncates(d);
  for (var block = start / 4u + lane; block * 4u < end; block += WG) {
    let open = legal(d, block);
    for (var j = 0u; j < 4u; j++) {
      let id = block * 4u + j;
      if (id >= end) { break; }
      let v = values[id - start];
      let may = ((open >> j) & 1u) == 1u;
      if (all) { scores[group.y * VOCAB + id] = select(ILLEGAL, bitcast<u32>(v), may); }
      if (!may) { continue; }
      flag |= 1u;
      if (v > peak) {
        peak = v;
        peak_id = id;
      }
    }
  }
  let most = most_of(peak, peak_id, flag, lane);
  peak = most.value;
  peak_id = select(most.id, 0u, most.id == NOBODY);
  var best_id = peak_id;
  if (d.temperature > 0.0 && !all) {
    var best = LOWEST;
    for (var block = start / 4u + lane; block * 4u < end; block += WG) {
      let open = legal(d, block);
      if (open == 0u) { continue; }
      let words = philox(d.step, block, d.key);
      for (var j = 0u; j < 4u; j++) {
        let id = block * 4u + j;
        if (((open >> j) & 1u) == 0u || id >= end) { continue; }
        let z = tempered(d, values[id - start], peak) + gumbel(words[j]);
        if (z > best) {
          best = z;
          best_id = id;
        }
      }
    }
    let won = most_of(best, best_id, select(0u, 1u, best > LOWEST), lane);
    best_id = select(won.id, peak_id, won.id == NOBODY);
  }
  if (lane != 0u) { return; }
  let to = (group.y * TILES + group.x) * RECORD;
  tiles[to] = bitcast<u32>(peak);
  tiles[to + 1u] = peak_id;
  tiles[to + 2u] = best_id;
  tiles[to + 3u] = bitcast<u32>(values[best_id - min(start, best_id)]);
  tiles[to + 4u] = bitcast<u32>(raw);
  tiles[to + 5u] = bitcast<u32>(mass);
  tiles[to + 6u] = most.flag;
}
