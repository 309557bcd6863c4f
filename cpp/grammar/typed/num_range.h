// Arithmetic of the number leaf: which prefixes of a mantissa can still reach the allowed set.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/typed/num.h"
#include "support/digest.h"

namespace treadle {

inline constexpr int32_t kTopExponent = 999;  // three exponent digits

struct ExponentRange {
  int32_t lo = -kTopExponent;
  int32_t hi = kTopExponent;
  bool operator==(const ExponentRange&) const = default;
  [[nodiscard]] bool is_empty() const { return lo > hi; }
  [[nodiscard]] bool has(int32_t value) const { return lo <= value && value <= hi; }
};

// Absolute values of the allowed numbers of one sign.
struct Magnitudes {
  Bound lo;                 // 0 or more
  std::optional<Bound> hi;  // none: no upper bound
  Step step;
  std::vector<Step> avoid;
  Spelling spelling = Spelling::any;

  bool operator==(const Magnitudes&) const = default;
  [[nodiscard]] uint64_t hash() const;
  [[nodiscard]] Digest digest() const;

  // The part of `set` of one sign; nothing when no number of that sign belongs to it.
  static std::optional<Magnitudes> of(const NumberSet& set, bool negative);
  [[nodiscard]] bool is_everything() const;
  // Only zero against non-zero and trailing zeros matter, so digits need not be remembered.
  [[nodiscard]] bool is_coarse() const;
  [[nodiscard]] bool has_zero() const;
  // Neither a point nor an exponent may be written.
  [[nodiscard]] bool digits_only() const;
  // How many digits a text may have.
  [[nodiscard]] int32_t room(uint64_t most) const;

  // Digits that every function here answers alike for, whatever is appended to both, so that equal
  // futures become one node. `digits` begins with no zero.
  [[nodiscard]] std::string stand_in(std::string digits) const;

  // Whether digits × 10^-scale × 10^e is allowed, as the interval of such e.
  [[nodiscard]] ExponentRange exponents(std::string_view digits, int32_t scale) const;
  // Whether some N × 10^q is allowed, where N appends t <= room digits to `digits` ("" = zero) and
  // low <= q + t <= high.
  [[nodiscard]] bool reaches(std::string_view digits, int32_t low, int32_t high,
                             int32_t room) const;

 private:
  [[nodiscard]] bool reaches_at(std::string_view digits, int32_t k, int32_t room) const;
  [[nodiscard]] bool has_multiple(std::string_view low, std::string_view high, int32_t q) const;
  [[nodiscard]] bool has_other(std::string least, std::string_view high, uint64_t a, size_t zeros,
                               int32_t q) const;
};

}  // namespace treadle
