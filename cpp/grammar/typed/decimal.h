// Exact decimals: digit strings with a power of ten. No floats anywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace treadle {

// Natural numbers as digit strings without leading zeros; "" is zero.
namespace natural {
int compare(std::string_view a, std::string_view b);
std::string subtract(std::string_view a, std::string_view b);  // a >= b
std::string increment(std::string_view a);
std::string decrement(std::string_view a);  // a > 0
std::string add(std::string_view a, uint64_t b);
uint64_t modulo(std::string_view a, uint64_t modulus);
std::optional<uint64_t> small(std::string_view a);  // its value when that is below 10^18
std::string strip(std::string_view digits);         // without leading zeros
}  // namespace natural

// ± digits × 10^exponent, digits without leading or trailing zeros, zero = ("", 0, positive).
struct Decimal {
  bool negative = false;
  std::string digits;
  int32_t exponent = 0;

  // Largest |power of ten| of a first or last digit that a schema may use.
  static constexpr int32_t kMaxExponent = 400;

  // Reads a JSON number. Nothing when it leaves 10^±kMaxExponent.
  static std::optional<Decimal> parse(std::string_view json);
  // The same of any size; an exponent beyond 10^4 counts as that.
  static Decimal exact(std::string_view json);
  static Decimal of(uint64_t value);

  bool operator==(const Decimal&) const = default;
  [[nodiscard]] bool is_zero() const { return digits.empty(); }
  [[nodiscard]] bool is_integer() const { return exponent >= 0; }
  // Number of digits before the point: 10^(magnitude-1) <= |value| < 10^magnitude. Zero has none.
  [[nodiscard]] int32_t magnitude() const { return static_cast<int32_t>(digits.size()) + exponent; }
  [[nodiscard]] Decimal negated() const;
  [[nodiscard]] uint64_t hash() const;
};

int compare(const Decimal& a, const Decimal& b);

// 0.d1d2d3... against 0.e1e2e3...: the order of two positive numbers of equal magnitude.
int compare_fraction(std::string_view a, std::string_view b);

// |value| / 10^exponent, rounded down or up to a natural number.
std::string scaled_down(const Decimal& value, int32_t exponent);
std::string scaled_up(const Decimal& value, int32_t exponent);

// The positive step a × 10^b of `multipleOf`, with b as large as possible; a = 0 means any number.
struct Step {
  uint64_t a = 0;
  int32_t b = 0;

  auto operator<=>(const Step&) const = default;
  static constexpr uint64_t kMax = 1'000'000'000'000'000'000;
  // Nothing when the coefficient exceeds kMax.
  static std::optional<Step> of(const Decimal& value);
  // The least common multiple; nothing when its coefficient exceeds kMax.
  [[nodiscard]] std::optional<Step> with(const Step& other) const;
  [[nodiscard]] Decimal value() const;
  // Whether digits × 10^exponent is a multiple.
  [[nodiscard]] bool divides(std::string_view digits, int32_t exponent) const;
};

}  // namespace treadle
