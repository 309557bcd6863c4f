// Dot products of weight rows with one token, or with four that share the unpacked weights.
// With HALF the tokens are staged as float16 in workgroup memory, normed, and four products are
// added in float16. Else a norm is folded in: weights are multiplied by its vector here, the sum by
// 1 / rms at the end.

//#if MANY
alias Sum = vec4<f32>;
const TOKENS: u32 = 4u;
//#else
alias Sum = f32;
const TOKENS: u32 = 1u;
//#end

var<private> token: vec4<u32>;       // the tokens (rows of x), the last one repeated at the end
//#if norm
var<workgroup> squares: array<Sum, WG>;
//#end

//#if QUADS
//#if HALF
var<workgroup> staged: array<vec4<f16>, WIDTH * TOKENS>;

fn quad(a: vec4<f16>, i: u32) -> Sum {
//#if MANY
  return vec4<f32>(vec4<f16>(dot(a, staged[i]), dot(a, staged[WIDTH + i]),
                             dot(a, staged[2u * WIDTH + i]), dot(a, staged[3u * WIDTH + i])));
//#else
  return f32(dot(a, staged[i]));
//#end
}
//#else
fn quad(a: vec4<f32>, i: u32) -> Sum {
//#if norm
  let v = a * norm[i];
//#else
  let v = a;
//#end
//#if MANY
  return vec4<f32>(dot(v, x[token.x * WIDTH + i]), dot(v, x[token.y * WIDTH + i]),
                   dot(v, x[token.z * WIDTH + i]), dot(v, x[token.w * WIDTH + i]));
//#else
  return dot(v, x[token.x * WIDTH + i]);
//#end
}
//#end

/// Row `row` of the weights times the tokens.
fn row_dot(row: u32) -> Sum {
  var sum = Sum();
  for (var b = 0u; b < BLOCKS; b++) {
    let k = block(row, b);
    let i = b * 8u;
    sum += quad(k.lo[0], i) + quad(k.lo[1], i + 1u) + quad(k.lo[2], i + 2u) + quad(k.lo[3], i + 3u)
         + quad(k.hi[0], i + 4u) + quad(k.hi[1], i + 5u) + quad(k.hi[2], i + 6u) + quad(k.hi[3], i + 7u);
  }
  return sum;
}
//#else
/// Element i of the tokens.
fn x_at(i: u32) -> Sum {
//#if MANY
  return vec4<f32>(x[token.x * WIDTH + i], x[token.y * WIDTH + i],
                   x[token.z * WIDTH + i], x[token.w * WIDTH + i]);
//#else
  return x[token.x * WIDTH + i];
//#end
}

/// Row `row` of the weights times the tokens, for widths that are no whole number of blocks.
fn row_dot(row: u32) -> Sum {
  var sum = Sum();
  for (var i = 0u; i < WIDTH; i++) {
//#if norm
    let v = weight(row, i) * norm[i];
//#else
    let v = weight(row, i);
//#end
    sum += v * x_at(i);
  }
  return sum;
}
//#end

/// Token `first` and, with MANY, its three followers; `count` tokens exist.
fn choose(first: u32, count: u32) {
  token = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u));
//#if rows
  token = vec4<u32>(batch[run.rows + token.x], batch[run.rows + token.y],
                    batch[run.rows + token.z], batch[run.rows + token.w]);
//#end
}

//#if norm
fn square(t: u32, i: u32) -> f32 {
  let v = x[t * WIDTH + i];
//#if QUADS
  return dot(v, v);
//#else
  return v * v;
//#end
}

/// 1 / rms of each token; all threads of the workgroup call it.
fn inverse_rms(lane: u32) -> Sum {
  var own = Sum();
  for (var i = lane; i < WIDTH; i += WG) {
//#if MANY
    own += vec4<f32>(square(token.x, i), square(token.y, i), square(token.z, i), square(token.w, i));
//#else
    own += square(token.x, i);
//#end
  }
  squares[lane] = own;
  workgroupBarrier();
  var total = Sum();
  for (var i = 0u; i < WG; i++) { total += squares[i]; }
  return Sum(1.0) / sqrt(total / COLUMNS + Sum(EPS));
}
//#end

/// What all threads of a workgroup do before `row_dot`; returns what its result is multiplied with.
fn prepare(lane: u32) -> Sum {
//#if norm
  let scale = inverse_rms(lane);
//#else
  let scale = Sum(1.0);
//#end
//#if HALF
  for (var i = lane; i < WIDTH; i += WG) {
//#if norm
    let factor = norm[i];
//#else
    let factor = vec4<f32>(1.0);
//#end
    let most = vec4<f32>(65504.0);
//#if MANY
    staged[i] = vec4<f16>(clamp(x[token.x * WIDTH + i] * factor * scale.x, -most, most));
    staged[WIDTH + i] = vec4<f16>(clamp(x[token.y * WIDTH + i] * factor * scale.y, -most, most));
    staged[2u * WIDTH + i] = vec4<f16>(clamp(x[token.z * WIDTH + i] * factor * scale.z, -most, most));
    staged[3u * WIDTH + i] = vec4<f16>(clamp(x[token.w * WIDTH + i] * factor * scale.w, -most, most));
//#else
    staged[i] = vec4<f16>(clamp(x[token.x * WIDTH + i] * factor * scale, -most, most));
//#end
  }
  workgroupBarrier();
  return Sum(1.0);
//#else
  return scale;
//#end
}
