// Reading packed weights `w` (little-endian words): every block format is a whole number of halves.
// `real` is what weights are unpacked to, float32 or float16.

struct Block { lo: mat4x4<real>, hi: mat4x4<real> } // 32 consecutive weights of a row, four a column
//#if PLANES
//#else

/// The word at byte `at`, a multiple of 2.
fn word(at: u32) -> u32 {
  let i = at >> 2u;
  if ((at & 2u) == 0u) { return w[i]; }
  return (w[i] >> 16u) | (w[i + 1u] << 16u);
}

/// The float16 at byte `at`, a multiple of 2.
fn half_at(at: u32) -> f32 {
  return unpack2x16float(w[at >> 2u] >> ((at & 2u) * 8u)).x;
}

/// The byte at `at`.
fn byte_at(at: u32) -> u32 {
  return (w[at >> 2u] >> ((at & 3u) * 8u)) & 255u;
}

//#end
/// Four unsigned bytes.
fn bytes(v: u32) -> vec4<real> {
  return vec4<real>((vec4<u32>(v) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}

/// Four signed bytes.
fn signed_bytes(v: u32) -> vec4<real> {
  return vec4<real>((vec4<i32>(bitcast<i32>(v)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

/// The four low nibbles of a word's bytes.
fn nibbles(v: u32) -> vec4<real> { return bytes(v & 0x0f0f0f0fu); }
