// Norm and rotation of head vectors that lie in workgroup memory.
//#use turn

/// 1 / rms of one vector of HEAD elements of `heads` from `at`.
fn head_scale(at: u32, eps: f32) -> f32 {
  var total = 0.0;
  for (var i = 0u; i < HEAD; i++) { total += heads[at + i] * heads[at + i]; }
  return 1.0 / sqrt(total / f32(HEAD) + eps);
}

/// Turns pair j of the vector from `at`; elements from 2 * ROTARY on stay.
fn turn_pair(at: u32, j: u32, position: f32) {
  let cs = cos_sin(position * freq[j]) * MSCALE;
  let a = heads[at + j];
  let b = heads[at + j + ROTARY];
  heads[at + j] = a * cs.x - b * cs.y;
  heads[at + j + ROTARY] = b * cs.x + a * cs.y;
}

/// Word of head `kv_head` of a slot; which: 0 keys, 1 values. Two float16 a word.
fn kv_word(page: u32, offset: u32, which: u32, kv_head: u32) -> u32 {
  return (((page * 2u + which) * PAGE + offset) * KV_HEADS + kv_head) * (HEAD / 2u);
}
