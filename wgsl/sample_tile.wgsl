// One tile of the vocabulary for one draw: bias and penalties, the most likely legal token, and the
// one that wins with the draw's noise. Noise is added to differences from the tile's own maximum,
// so that they are small numbers; `sample_pick` takes them again from the row's. Where top_k, top_p
// or min_p apply, scores of all tokens go to `scores`; where log-probabilities are wanted, the mass
// of the raw logits to the record. An entry is 3 words: id, bias (float32), count << 1 | penalised.
//#use philox
//#use draw

var<workgroup> values: array<f32, TILE>;
var<workgroup> peaks: array<f32, WG>;
var<workgroup> peak_ids: array<u32, WG>;
var<workgroup> sums: array<f32, WG>;
var<workgroup> flags: array<u32, WG>;

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
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let d = draw_of(group.y);
  let start = group.x * TILE;
  let end = min(start + TILE, VOCAB);
  let x = d.row * VOCAB;
  var flag = 0u;
  var raw = LOWEST;
  for (var id = start + lane; id < end; id += WG) {
    let v = logits[x + id];
    if ((bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u) { flag |= 2u; }
    raw = max(raw, v);
    values[id - start] = v;
  }
  peaks[lane] = raw;
  workgroupBarrier();
  var mass = 0.0;
  if (d.told >= 0) {
    for (var i = 0u; i < WG; i++) { raw = max(raw, peaks[i]); }
    for (var id = start + lane; id < end; id += WG) { mass += exp(logits[x + id] - raw); }
  }
  sums[lane] = mass;
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
  workgroupBarrier();
  var best = LOWEST;
  var best_id = peak_id;
  if (d.temperature > 0.0 && !all) {
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
  }
  peaks[lane] = best;
  peak_ids[lane] = best_id;
  workgroupBarrier();
  if (lane != 0u) { return; }
  best = LOWEST;
  best_id = peak_id;
  mass = 0.0;
  for (var i = 0u; i < WG; i++) {
    mass += sums[i];
    if (peaks[i] > best || (peaks[i] == best && best > LOWEST && peak_ids[i] < best_id)) {
      best = peaks[i];
      best_id = peak_ids[i];
    }
  }
  let to = (group.y * TILES + group.x) * RECORD;
  tiles[to] = bitcast<u32>(peak);
  tiles[to + 1u] = peak_id;
  tiles[to + 2u] = best_id;
  tiles[to + 3u] = bitcast<u32>(values[best_id - min(start, best_id)]);
  tiles[to + 4u] = bitcast<u32>(raw);
  tiles[to + 5u] = bitcast<u32>(mass);
  tiles[to + 6u] = flag;
}
