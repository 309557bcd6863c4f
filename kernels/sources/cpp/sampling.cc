// One draw a row from probabilities, of the k likeliest tokens, of the least set of mass p, or of
// the second within the first. Every call draws anew.
#include <algorithm>
#include <atomic>
#include <chrono>

#include "tensor.h"

namespace treadle {

struct Token {
  float p;
  int32_t id;
};

static bool before(const Token& a, const Token& b) {
  return a.p > b.p || (a.p == b.p && a.id < b.id);
}

// A uniform number in [0, 1): SplitMix64 over a counter that starts from the clock.
static double uniform() {
  static std::atomic<uint64_t> state{
      static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count())};
  uint64_t z = state.fetch_add(0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

// Leaves the tokens before which less than p of `mass` lies; sorts only as far as it must.
static void keep_mass(std::vector<Token>& tokens, double p, double mass) {
  double sum = 0;
  size_t done = 0;
  for (size_t chunk = 64; done < tokens.size(); chunk *= 4) {
    const size_t end = std::min(tokens.size(), done + chunk);
    if (end < tokens.size())
      std::nth_element(tokens.begin() + done, tokens.begin() + end - 1, tokens.end(), before);
    std::sort(tokens.begin() + done, tokens.begin() + end, before);
    for (; done < end; done++) {
      if (done > 0 && (sum > p * mass || p <= 0)) return tokens.resize(done);
      sum += tokens[done].p;
    }
  }
}

static int draw(const DLTensor* probs, const DLTensor* top_k, const DLTensor* top_p,
                const DLTensor* samples) {
  if (!fits<float>(probs, {-1, -1})) return kBadTensor;
  const int64_t S = probs->shape[0], V = probs->shape[1];
  if ((top_k && !fits<int32_t>(top_k, {S})) || (top_p && !fits<float>(top_p, {S})) ||
      !fits<int64_t>(samples, {S}))
    return kBadTensor;
  std::vector<Token> tokens;
  for (int64_t s = 0; s < S; s++) {
    tokens.clear();
    for (int64_t v = 0; v < V; v++) {
      const float p = in<float>(probs)[s * V + v];
      if (p > 0) tokens.push_back({p, static_cast<int32_t>(v)});
    }
    const int64_t k = top_k ? in<int32_t>(top_k)[s] : 0;
    double mass = 1;
    if (k > 0 && k < static_cast<int64_t>(tokens.size())) {
      std::nth_element(tokens.begin(), tokens.begin() + k - 1, tokens.end(), before);
      tokens.resize(static_cast<size_t>(k));
      mass = 0;  // the filter that follows sees the rest as a whole
      for (const Token& token : tokens) mass += token.p;
    }
    if (top_p && in<float>(top_p)[s] < 1) keep_mass(tokens, in<float>(top_p)[s], mass);
    if (tokens.empty()) return kBadTensor;
    double total = 0;
    for (const Token& token : tokens) total += token.p;
    double left = uniform() * total;
    size_t i = 0;
    while (i + 1 < tokens.size() && (left -= tokens[i].p) >= 0) i++;
    out<int64_t>(samples)[s] = tokens[i].id;
  }
  return 0;
}

}  // namespace treadle

extern "C" int run_top_k(const DLTensor* probs, const DLTensor* top_k, const DLTensor* samples,
                         void*) {
  return treadle::draw(probs, top_k, nullptr, samples);
}

extern "C" int run_top_p(const DLTensor* probs, const DLTensor* top_p, const DLTensor* samples,
                         void*) {
  return treadle::draw(probs, nullptr, top_p, samples);
}

extern "C" int run_top_k_top_p(const DLTensor* probs, const DLTensor* top_k, const DLTensor* top_p,
                               const DLTensor* samples, void*) {
  return treadle::draw(probs, top_k, top_p, samples);
}
