#include "cpu/sample.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace treadle::cpu {

namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();  // a token that is not drawn
constexpr float kMostNoise = 22.8759f;  // no noise is greater: 33 ln 2, rounded up
constexpr size_t kLanes = 8;            // partial results that go together

struct Best {
  float value = 0;
  int64_t token = kNoToken;

  void take(float x, int64_t id) {
    if (x > value || (token == kNoToken && x == x)) {
      value = x;
      token = id;
    }
  }
};

}  // namespace

int64_t best_token(const float* logits, size_t count, const uint32_t* mask) {
  Best best;
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const uint32_t bits = mask ? mask[i / 32] >> i % 32 & 0xFFFF : 0xFFFF;
    if (bits == 0) continue;
    if (bits == 0xFFFF && best.token != kNoToken) {
      // Most blocks hold nothing better; this loop becomes a few vector comparisons.
      int better = 0;
      for (size_t j = 0; j < 16; ++j) better |= logits[i + j] > best.value;
      if (!better) continue;
    }
    for (size_t j = 0; j < 16; ++j) {
      if (bits >> j & 1) best.take(logits[i + j], static_cast<int64_t>(i + j));
    }
  }
  for (; i < count; ++i) {
    if (!mask || mask[i / 32] >> i % 32 & 1) best.take(logits[i], static_cast<int64_t>(i));
  }
  return best.token;
}

namespace {

// Loops below are plain so that a compiler turns them into vector instructions.

bool finite(const float* x, size_t count) {
  int32_t worst = 0;
  for (size_t i = 0; i < count; ++i) {
    worst = std::max(worst, std::bit_cast<int32_t>(x[i]) & 0x7FFFFFFF);
  }
  return worst < 0x7F800000;
}

// exp to about 2 units in the last place for x <= 0, 0 below -87; the polynomial is that of
// Cephes' expf.
inline float exponential(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * 1.44269504f + 12582912.0f;  // 1.5 * 2^23 rounds to an integer
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + (r + 1.0f);
  const int32_t power = (std::bit_cast<int32_t>(shifted) << 23) + 0x3F800000;
  return x < -87.0f ? 0.0f : p * std::bit_cast<float>(power);
}

// weights[i] = exp(x[i] - top); their sum.
double exponentials(const float* x, size_t count, float top, float* weights) {
  for (size_t i = 0; i < count; ++i) weights[i] = exponential(x[i] - top);
  double sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) sums[j] += static_cast<double>(weights[i + j]);
  }
  for (; i < count; ++i) sums[i % kLanes] += static_cast<double>(weights[i]);
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

size_t at_least(const float* x, size_t count, float low) {
  uint32_t found = 0;
  for (size_t i = 0; i < count; ++i) found += x[i] >= low;
  return found;
}

// Puts (x[i], i) of x[i] >= low into `near`.
void gather(const float* x, size_t count, float low, SampleScratch& scratch) {
  scratch.near.clear();
  for (size_t i = 0; i < count; ++i) {
    if (x[i] >= low) scratch.near.emplace_back(x[i], static_cast<int32_t>(i));
  }
}

bool likelier(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

// Gathers the `wanted` greatest of x and perhaps more; all that are not -inf if there are fewer.
// Looks ever further below the greatest, `top`.
void gather_most(const float* x, size_t count, float top, size_t wanted, SampleScratch& scratch) {
  float low = kOut;
  for (float span = 2; span < 1e9f && low == kOut; span *= 4) {
    if (at_least(x, count, top - span) >= wanted) low = top - span;
  }
  gather(x, count, low == kOut ? std::numeric_limits<float>::lowest() : low, scratch);
}

void keep_top_k(float* s, size_t count, size_t k, SampleScratch& scratch) {
  gather_most(s, count, 0, k, scratch);
  auto& near = scratch.near;
  if (near.size() < k) return;
  const auto kth = near.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(near.begin(), kth, near.end(), likelier);
  const float least = kth->first;
  for (size_t i = 0; i < count; ++i) s[i] = s[i] >= least ? s[i] : kOut;
}

// The shortest list of most likely tokens, lower ids first among equals, whose mass reaches top_p
// of all. Only tokens within a span of the greatest are sorted; it doubles until they hold enough.
void keep_top_p(float* s, size_t count, double top_p, SampleScratch& scratch) {
  float* weights = scratch.weights.data();
  const double target = top_p * exponentials(s, count, 0, weights);
  float span = 1;
  for (; span < 1e9f; span *= 2) {
    double sums[kLanes] = {};
    for (size_t i = 0; i < count; ++i) {
      sums[i % kLanes] += s[i] >= -span ? static_cast<double>(weights[i]) : 0.0;
    }
    double mass = 0;
    for (double sum : sums) mass += sum;
    if (mass >= target * (1 + 1e-9)) break;
  }
  gather(s, count, span < 1e9f ? -span : std::numeric_limits<float>::lowest(), scratch);
  auto& near = scratch.near;
  if (near.empty()) return;
  std::sort(near.begin(), near.end(), likelier);
  double mass = 0;
  size_t length = 0;
  while (length < near.size() && (length == 0 || mass < target)) {
    mass += static_cast<double>(weights[near[length++].second]);
  }
  const auto [least, last] = near[length - 1];
  for (size_t i = 0; i < count; ++i) {
    const bool kept = s[i] > least || (s[i] == least && static_cast<int32_t>(i) <= last);
    s[i] = kept ? s[i] : kOut;
  }
}

// Standard Gumbel noise of a word: -log(-log(1 - u)), u = (word + 1/2) / 2^32 below 1.
float gumbel(uint32_t word) {
  const float u = (static_cast<float>(word) + 0.5f) * 0x1p-32f;
  return -std::log(-std::log1p(-std::min(u, 1.0f - 0x1p-24f)));
}

// The greatest of x, which is finite or -inf.
float greatest(const float* x, size_t count) {
  float most[kLanes];
  std::fill_n(most, kLanes, kOut);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
  }
  for (; i < count; ++i) most[0] = x[i] > most[0] ? x[i] : most[0];
  return *std::max_element(most, most + kLanes);
}

// The token whose s + noise is greatest, the lowest among equals. s[peak] = 0 is the greatest s.
// What could not win is passed over: noise is at most -log u, so a run of tokens whose greatest s
// is `most` needs a word below exp(most - best) * 2^32.
int64_t gumbel_max(const Kernels& k, const float* s, size_t count, int64_t peak,
                   const RowRule& rule) {
  constexpr size_t run = 4 * kNoiseBlocks;
  uint32_t words[run];
  const auto word = [&words](size_t j) { return words[j % 4 * kNoiseBlocks + j / 4]; };
  const auto step = static_cast<uint32_t>(rule.step);
  k.noise(rule.key, step, static_cast<uint32_t>(peak / 4), words);
  int64_t token = peak;
  float best = s[peak] + gumbel(word(static_cast<size_t>(peak) % 4));
  for (size_t first = 0; first < count; first += run) {
    const size_t here = std::min(run, count - first);
    const float most = greatest(s + first, here);
    if (!(most + kMostNoise >= best)) continue;
    k.noise(rule.key, step, static_cast<uint32_t>(first / 4), words);
    const double share = std::exp(static_cast<double>(most) - static_cast<double>(best));
    const double limit = share * 1.0001 * 0x1p32 + 1;  // float32 noise is that inexact at most
    if (limit < 0x1p32) {
      const auto low = static_cast<uint32_t>(limit);
      uint32_t some = 0;
      for (size_t j = 0; j < run; ++j) some |= words[j] <= low;
      if (!some) continue;
    }
    for (size_t j = 0; j < here; ++j) {
      if (static_cast<double>(word(j)) > limit || s[first + j] == kOut) continue;
      const float score = s[first + j] + gumbel(word(j));
      const auto id = static_cast<int64_t>(first + j);
      if (score > best || (score == best && id < token)) best = score, token = id;
    }
  }
  return token;
}

int64_t first_of(const float* x, size_t count, float value) {
  for (size_t i = 0; i < count; i += 64) {
    const size_t here = std::min<size_t>(64, count - i);
    uint32_t found = 0;
    for (size_t j = 0; j < here; ++j) found |= x[i + j] == value;
    if (!found) continue;
    return std::find(x + i, x + i + here, value) - x;
  }
  return kNoToken;
}

// Takes the tokens whose bits are clear out of s.
void forbid(float* s, size_t count, const uint32_t* mask) {
  for (size_t first = 0; first < count; first += 32) {
    const uint32_t bits = mask[first / 32];
    if (bits == 0xFFFFFFFF) continue;
    const size_t here = std::min<size_t>(32, count - first);
    for (size_t j = 0; j < here; ++j) s[first + j] = bits >> j & 1 ? s[first + j] : kOut;
  }
}

int64_t noisy_token(const Kernels& k, const float* z, size_t vocab, const uint32_t* mask,
                    const RowRule& rule, SampleScratch& scratch) {
  const int64_t peak = mask ? best_token(z, vocab, mask) : first_of(z, vocab, greatest(z, vocab));
  if (peak == kNoToken) return peak;
  float* s = scratch.scaled.data();
  const float top = z[peak], temperature = rule.temperature;
  for (size_t i = 0; i < vocab; ++i) s[i] = (z[i] - top) / temperature;
  if (mask) forbid(s, vocab, mask);
  const auto most = static_cast<size_t>(std::max(rule.top_k, 0));
  if (most > 0 && most < vocab) keep_top_k(s, vocab, most, scratch);
  if (rule.top_p < 1.0f) keep_top_p(s, vocab, static_cast<double>(rule.top_p), scratch);
  if (rule.min_p > 0.0f) {
    const auto least = static_cast<float>(std::log(static_cast<double>(rule.min_p)));
    for (size_t i = 0; i < vocab; ++i) s[i] = s[i] >= least ? s[i] : kOut;
  }
  return gumbel_max(k, s, vocab, peak, rule);
}

// The logits with logit_bias and penalties applied: a copy if there are any.
const float* adjusted(const float* logits, size_t vocab, const RowRule& rule,
                      SampleScratch& scratch) {
  if (rule.bias_ids.empty() && rule.seen_ids.empty()) return logits;
  float* z = scratch.adjusted.data();
  std::copy(logits, logits + vocab, z);
  for (size_t i = 0; i < rule.bias_ids.size(); ++i) z[rule.bias_ids[i]] += rule.bias_values[i];
  for (size_t i = 0; i < rule.seen_ids.size(); ++i) {
    float& at = z[rule.seen_ids[i]];
    const auto count = static_cast<float>(rule.seen_counts[i]);
    at = at > 0 ? at / rule.repetition : at * rule.repetition;
    at -= rule.frequency * count + (count > 0 ? rule.presence : 0.0f);
  }
  return z;
}

float log_probabilities(const float* x, size_t vocab, int64_t token, size_t count,
                        SampleScratch& scratch, int32_t* top_ids, float* top_logprobs) {
  const float peak = greatest(x, vocab);
  const double total = peak + std::log(exponentials(x, vocab, peak, scratch.weights.data()));
  std::fill_n(top_ids, count, -1);
  std::fill_n(top_logprobs, count, std::numeric_limits<float>::quiet_NaN());
  const size_t told = std::min(count, vocab);
  if (told > 0) {
    gather_most(x, vocab, peak, told, scratch);
    auto& near = scratch.near;
    const auto end = near.begin() + static_cast<std::ptrdiff_t>(told);
    std::partial_sort(near.begin(), end, near.end(), likelier);
    for (size_t i = 0; i < told; ++i) {
      top_ids[i] = near[i].second;
      top_logprobs[i] = static_cast<float>(static_cast<double>(near[i].first) - total);
    }
  }
  return static_cast<float>(static_cast<double>(x[token]) - total);
}

}  // namespace

std::string rule_fault(const RowRule& rule, size_t vocab) {
  const auto outside = [vocab](int32_t id) { return id < 0 || static_cast<size_t>(id) >= vocab; };
  if (rule.bias_ids.size() != rule.bias_values.size() ||
      rule.seen_ids.size() != rule.seen_counts.size()) {
    return "has lists of different lengths";
  }
  if (std::any_of(rule.bias_ids.begin(), rule.bias_ids.end(), outside)) {
    return "has bias_ids outside the vocabulary";
  }
  if (std::any_of(rule.seen_ids.begin(), rule.seen_ids.end(), outside)) {
    return "has pen_ids outside the vocabulary";
  }
  if (rule.logprobs > 1 << 16) return "asks for too many alternatives";
  return "";
}

void SampleScratch::grow(size_t vocab) {
  if (scaled.size() >= vocab) return;
  adjusted.resize(vocab), scaled.resize(vocab), weights.resize(vocab);
  near.reserve(vocab);
}

RowDraw draw_row(const Kernels& kernels, const float* logits, size_t vocab, const uint32_t* mask,
                 const RowRule& rule, SampleScratch& scratch, int32_t* top_ids,
                 float* top_logprobs) {
  RowDraw out;
  const size_t told = rule.logprobs > 0 ? static_cast<size_t>(rule.logprobs) : 0;
  std::fill_n(top_ids, told, -1);
  std::fill_n(top_logprobs, told, std::numeric_limits<float>::quiet_NaN());
  if (!finite(logits, vocab)) {
    out.status = row_not_finite;
    return out;
  }
  const float* z = adjusted(logits, vocab, rule, scratch);
  const int64_t token = rule.temperature != 0 ? noisy_token(kernels, z, vocab, mask, rule, scratch)
                        : mask                ? best_token(z, vocab, mask)
                                              : first_of(z, vocab, greatest(z, vocab));
  if (token == kNoToken) {
    out.status = row_no_legal_token;
    return out;
  }
  out.token = static_cast<int32_t>(token);
  if (rule.logprobs >= 0) {
    out.logprob = log_probabilities(logits, vocab, token, told, scratch, top_ids, top_logprobs);
  }
  return out;
}

}  // namespace treadle::cpu
