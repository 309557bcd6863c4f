#include "cpu/sample.h"

namespace treadle::cpu {

namespace {

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

}  // namespace treadle::cpu
