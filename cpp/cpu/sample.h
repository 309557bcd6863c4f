// The project's one sampling rule for a row of logits; python/treadle/backends/sampler.py is its
// definition, and equal logits give equal tokens: mask, logit_bias, penalties, temperature, top_k,
// top_p, min_p, draw by Gumbel noise of Philox4x32-10 words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/room.h"

namespace treadle::cpu {

inline constexpr int64_t kNoToken = -1;

// The token of the greatest logit whose bit is set (token i = bit i % 32 of word i / 32; null: all
// are legal); ties go to the lowest id, NaN is never chosen. kNoToken if nothing is left. Sixteen
// tokens whose bits are all clear are not read.
int64_t best_token(const float* logits, size_t count, const uint32_t* mask);

// How a row is drawn. temperature 0: the best token. top_k 0, top_p 1, min_p 0: nothing is cut.
// logprobs: how many alternatives to tell, -1 = not even the drawn one's log-probability. The lists
// name each token once; seen_counts: times in the output so far.
struct RowRule {
  float temperature = 0, top_p = 1, min_p = 0, presence = 0, frequency = 0, repetition = 1;
  int32_t top_k = 0, step = 0, logprobs = -1;
  uint64_t key = 0;
  std::span<const int32_t> bias_ids, seen_ids, seen_counts;
  std::span<const float> bias_values;
};

// What does not fit a vocabulary, "" if nothing: draw_row indexes without looking.
std::string rule_fault(const RowRule& rule, size_t vocab);

enum DrawStatus : uint8_t { row_drawn = 0, row_no_legal_token = 1, row_not_finite = 2 };

struct RowDraw {
  int32_t token = -1;
  DrawStatus status = row_drawn;
  float logprob = std::numeric_limits<float>::quiet_NaN();  // natural, of the raw logits
};

// A worker's memory for rows of so many tokens, taken once and set as it is used.
struct SampleScratch {
  Room<float> adjusted, scaled, weights;
  std::vector<std::pair<float, int32_t>> near;

  void grow(size_t vocab);
};

// Draws from finite logits [vocab]. top_ids, top_logprobs: [rule.logprobs], filled with the most
// likely tokens, lower ids first among equals; they may be null if rule.logprobs < 1.
RowDraw draw_row(const Kernels& kernels, const float* logits, size_t vocab, const uint32_t* mask,
                 const RowRule& rule, SampleScratch& scratch, int32_t* top_ids,
                 float* top_logprobs);

}  // namespace treadle::cpu
