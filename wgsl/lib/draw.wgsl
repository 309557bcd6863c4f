// What both passes of the sampler read. A draw is 8 words: temperature (float32), key (2), step,
// row of the mask or -1, row of the logits, two that are 0.

const LOWEST: f32 = -3.4e38;

struct Draw { temperature: f32, key: vec2<u32>, step: u32, mask: i32, row: u32 }

fn draw_of(i: u32) -> Draw {
  let at = i * 8u;
  return Draw(bitcast<f32>(draws[at]), vec2<u32>(draws[at + 1u], draws[at + 2u]), draws[at + 3u],
              bitcast<i32>(draws[at + 4u]), draws[at + 5u]);
}
