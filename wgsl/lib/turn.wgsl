/// (cos, sin) of an angle in radians, to float32 rounding for |angle| < 200,000: built-in functions
/// promise an absolute 2^-11 only, and nothing beyond pi. Argument reduction after Cody and Waite;
/// the parts of pi / 2 have 7 bits, so their products are exact.
fn cos_sin(angle: f32) -> vec2<f32> {
  let k = floor(angle * 0.6366197723675814 + 0.5);
  let r = ((angle - k * 1.5625) - k * 0.0081787109375) - k * 0.00011730194091796875
        - k * 3.139164786504813e-07;
  let q = u32(i32(k)) & 3u;
  let z = r * r;
  let s = r + r * z * (-0.16666667163 + z * (0.0083333337680 + z * (-0.00019841270114 + z * 2.7557314297e-06)));
  let c = 1.0 + z * (-0.5 + z * (0.041666667908 + z * (-0.0013888889225 + z * 2.4801587642e-05)));
  let turned = select(vec2<f32>(c, s), vec2<f32>(-s, c), (q & 1u) == 1u);
  return select(turned, -turned, (q & 2u) == 2u);
}
