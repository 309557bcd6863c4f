// What both passes of the sampler read. A draw is 16 words: temperature (float32), key (2), step,
// row of the mask or -1, row of the logits, top_k or 0, top_p as 24 bits or 0, least score (float32),
// repetition, frequency, presence (float32), first entry and how many, log-probabilities or -1, 0.
// A tile's record is 8: largest score, its id, the winner's id, the winner's score, largest raw
// logit, sum of exponentials from it, 1 = a legal token was seen | 2 = a logit was not finite, 0.

const LOWEST: f32 = -3.4e38;
const ILLEGAL: u32 = 0xffffffffu; // of a token that may not be drawn, in `scores`
const RECORD: u32 = 8u;

struct Draw {
  temperature: f32, key: vec2<u32>, step: u32, mask: i32, row: u32,
  top_k: u32, share: u32, least: f32,
  repetition: f32, frequency: f32, presence: f32, first: u32, count: u32, told: i32,
}

fn draw_of(i: u32) -> Draw {
  let at = i * 16u;
  return Draw(
    bitcast<f32>(draws[at]), vec2<u32>(draws[at + 1u], draws[at + 2u]), draws[at + 3u],
    bitcast<i32>(draws[at + 4u]), draws[at + 5u],
    draws[at + 6u], draws[at + 7u], bitcast<f32>(draws[at + 8u]),
    bitcast<f32>(draws[at + 9u]), bitcast<f32>(draws[at + 10u]), bitcast<f32>(draws[at + 11u]),
    draws[at + 12u], draws[at + 13u], bitcast<i32>(draws[at + 14u]));
}

/// Whether scores of single tokens are needed, not only each tile's winner.
fn truncates(d: Draw) -> bool {
  return d.temperature > 0.0 && (d.top_k > 0u || d.share > 0u || d.least > LOWEST);
}

/// A score from the largest one and by temperature, at most 0.
fn tempered(d: Draw, score: f32, peak: f32) -> f32 {
  return max((score - peak) / d.temperature, -1.0e38);
}
