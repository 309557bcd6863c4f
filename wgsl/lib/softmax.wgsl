// Attention of GROUP query heads of one token over the keys of one KV head, a block of WG keys at a
// time (online softmax). Scores and sums lie in workgroup memory; queries are `heads`, scaled.

var<workgroup> scores: array<f32, WG * GROUP>;
var<workgroup> mixed: array<f32, GROUP * HEAD>;
var<workgroup> top: array<f32, GROUP>;
var<workgroup> mass: array<f32, GROUP>;
var<workgroup> shrink: array<f32, GROUP>;

fn score(h: u32, at: u32) -> f32 {
  var sum = 0.0;
  let base = h * HEAD;
  for (var i = 0u; i < HEAD / 2u; i++) {
    let k = unpack2x16float(kv[at + i]);
    sum += heads[base + 2u * i] * k.x + heads[base + 2u * i + 1u] * k.y;
  }
  return sum;
}

fn capped(v: f32) -> f32 {
//#if CAP
  return CAP * (1.0 - 2.0 / (exp(2.0 * v / CAP) + 1.0));
//#else
  return v;
//#end
}


/// Sequence s, keys first..last-1 in pages; in a step, the key at length - 1 is in `heads` itself.
fn attend(s: u32, kv_head: u32, first: u32, last: u32, length: u32, lane: u32) {
  let pages = run.table + s * run.L;
  for (var i = lane; i < GROUP * HEAD; i += WG) { mixed[i] = 0.0; }
  if (lane < GROUP) {
    top[lane] = -3.0e38;
    mass[lane] = 0.0;
  }
  for (var base = first; base < last; base += WG) {
    let key = base + lane;
    if (key < last) {
      let at = kv_word(batch[pages + key / PAGE], key % PAGE, 0u, kv_head);
      for (var h = 0u; h < GROUP; h++) {
//#if STEP
        if (key + 1u == length) {
          scores[h * WG + lane] = capped(own_score(h));
        } else {
          scores[h * WG + lane] = capped(score(h, at));
        }
//#else
        scores[h * WG + lane] = capped(score(h, at));
//#end
      }
    }
    let count = min(WG, last - base);
    workgroupBarrier();
    for (var h = lane; h < GROUP; h += WG) {
      var best = top[h];
      for (var j = 0u; j < count; j++) { best = max(best, scores[h * WG + j]); }
      shrink[h] = exp(top[h] - best);
      top[h] = best;
    }
    workgroupBarrier();
    for (var i = lane; i < GROUP * WG; i += WG) {
      if (lane < count) { scores[i] = exp(scores[i] - top[i / WG]); }
    }
    workgroupBarrier();
    for (var h = lane; h < GROUP; h += WG) {
      var sum = mass[h] * shrink[h];
      for (var j = 0u; j < count; j++) { sum += scores[h * WG + j]; }
      mass[h] = sum;
    }
    for (var i = lane; i < GROUP * HEAD / 2u; i += WG) {
      let h = i / (HEAD / 2u);
      let e = i % (HEAD / 2u);
      var pair = vec2<f32>(mixed[2u * i], mixed[2u * i + 1u]) * shrink[h];
      for (var j = 0u; j < count; j++) {
        let seen = base + j;
//#if STEP
        if (seen + 1u == length) {
          pair += scores[h * WG + j] * own_value(e);
          continue;
        }
//#end
        let at = kv_word(batch[pages + seen / PAGE], seen % PAGE, 1u, kv_head);
        pair += scores[h * WG + j] * unpack2x16float(kv[at + e]);
      }
      mixed[2u * i] = pair.x;
      mixed[2u * i + 1u] = pair.y;
    }
    workgroupBarrier();
  }
}

/// Where the first visible key of the query at `position` lies.
fn first_key(position: u32) -> u32 {
//#if WINDOW
  return max(position + 1u, WINDOW) - WINDOW;
//#else
  return 0u;
//#end
}
