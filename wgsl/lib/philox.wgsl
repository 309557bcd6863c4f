// Philox4x32-10 (Salmon et al., SC 2011) and Gumbel noise by the project's one rule of draws.

/// The two words of a 64-bit product: (high, low).
fn wide_product(a: u32, b: u32) -> vec2<u32> {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let mid = ah * bl + ((al * bl) >> 16u);
  let low = (mid & 0xffffu) + al * bh;
  return vec2<u32>(ah * bh + (mid >> 16u) + (low >> 16u), a * b);
}

/// The four words of counter (step, block, 0, 0).
fn philox(step: u32, block: u32, key: vec2<u32>) -> vec4<u32> {
  var c = vec4<u32>(step, block, 0u, 0u);
  var k = key;
  for (var i = 0; i < 10; i++) {
    let p = wide_product(c.x, 0xd2511f53u);
    let q = wide_product(c.z, 0xcd9e8d57u);
    c = vec4<u32>(q.x ^ c.y ^ k.x, q.y, p.x ^ c.w ^ k.y, p.y);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

/// -log(1 - u) for 0 < u < 1: the built-in promises no relative error near 1, so small u go through
/// the series of atanh.
fn minus_log_of_rest(u: f32) -> f32 {
  if (u > 0.5) { return -log(1.0 - u); }
  let s = u / (2.0 - u);
  let z = s * s;
  let series = 1.0 + z * (0.33333333333 + z * (0.2 + z * (0.14285714286 + z * (0.11111111111
             + z * (0.09090909091 + z * (0.07692307692 + z * (0.06666666667 + z * 0.05882352941)))))));
  return 2.0 * s * series;
}

/// Standard Gumbel noise of a word.
fn gumbel(word: u32) -> f32 {
  let u = min((f32(word) + 0.5) * 2.3283064365386963e-10, 0.99999994);
  return -log(minus_log_of_rest(u));
}
