// out = rmsnorm(x) (+ y): a row a workgroup; with `y` a norm that lands on the residual.

var<workgroup> squares: array<f32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let start = group.x * WIDTH;
  var own = 0.0;
  for (var i = lane; i < WIDTH; i += WG) { own += x[start + i] * x[start + i]; }
  squares[lane] = own;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < WG; i++) { total += squares[i]; }
  let scale = 1.0 / sqrt(total / f32(WIDTH) + EPS);
  for (var i = lane; i < WIDTH; i += WG) {
//#if y
    out[start + i] = y[start + i] + x[start + i] * scale * norm[i];
//#else
    out[start + i] = x[start + i] * scale * norm[i];
//#end
  }
}
