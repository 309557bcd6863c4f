#include "grammar/typed/decimal.h"

#include <algorithm>
#include <numeric>

#include "support/hash.h"

namespace treadle {
namespace natural {

int compare(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  const int order = a.compare(b);
  return order < 0 ? -1 : (order > 0 ? 1 : 0);
}

std::string subtract(std::string_view a, std::string_view b) {
  std::string out(a);
  int borrow = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    char& digit = out[a.size() - 1 - i];
    int value = digit - '0' - borrow - (i < b.size() ? b[b.size() - 1 - i] - '0' : 0);
    borrow = value < 0 ? 1 : 0;
    if (borrow) value += 10;
    digit = static_cast<char>('0' + value);
  }
  return strip(out);
}

std::string increment(std::string_view a) {
  std::string out(a);
  for (size_t i = out.size(); i-- > 0;) {
    if (out[i] != '9') {
      ++out[i];
      return out;
    }
    out[i] = '0';
  }
  return "1" + out;
}

std::string decrement(std::string_view a) {
  return subtract(a, "1");
}

std::string add(std::string_view a, uint64_t b) {
  std::string out(a);
  for (size_t i = out.size(); b > 0; b /= 10) {
    if (i == 0) {
      out.insert(out.begin(), '0');
      i = 1;
    }
    b += static_cast<uint64_t>(out[--i] - '0');
    out[i] = static_cast<char>('0' + b % 10);
  }
  return out;
}

uint64_t modulo(std::string_view a, uint64_t modulus) {
  // Moduli stay below 10^18 (Step::kMax), so ten times a rest fits.
  uint64_t rest = 0;
  for (const char digit : a) rest = (rest * 10 + static_cast<uint64_t>(digit - '0')) % modulus;
  return rest;
}

std::optional<uint64_t> small(std::string_view a) {
  if (a.size() > 18) return std::nullopt;
  uint64_t value = 0;
  for (const char digit : a) value = value * 10 + static_cast<uint64_t>(digit - '0');
  return value;
}

std::string strip(std::string_view digits) {
  const size_t start = digits.find_first_not_of('0');
  return start == std::string_view::npos ? std::string() : std::string(digits.substr(start));
}

}  // namespace natural

namespace {

Decimal normal(bool negative, std::string_view digits, int64_t exponent) {
  Decimal out;
  out.digits = natural::strip(digits);
  if (out.digits.empty()) return out;
  const size_t last = out.digits.find_last_not_of('0');
  exponent += static_cast<int64_t>(out.digits.size() - 1 - last);
  out.digits.resize(last + 1);
  out.negative = negative;
  out.exponent = static_cast<int32_t>(exponent);
  return out;
}

// The exponents of 2 and 5 in `value`, which is divided by them.
int strip_factor(uint64_t& value, uint64_t factor) {
  int count = 0;
  while (value % factor == 0) {
    value /= factor;
    ++count;
  }
  return count;
}

}  // namespace

Decimal Decimal::exact(std::string_view json) {
  const bool negative = !json.empty() && json[0] == '-';
  if (negative) json.remove_prefix(1);
  const size_t e = json.find_first_of("eE");
  int64_t exponent = 0;
  if (e != std::string_view::npos) {
    std::string_view digits = json.substr(e + 1);
    const bool below = digits[0] == '-';
    if (below || digits[0] == '+') digits.remove_prefix(1);
    // Ten thousand is beyond every limit below, and cannot overflow.
    for (const char digit : digits)
      exponent = std::min<int64_t>(exponent * 10 + digit - '0', 10000);
    if (below) exponent = -exponent;
    json = json.substr(0, e);
  }
  std::string digits(json);
  if (const size_t point = digits.find('.'); point != std::string::npos) {
    exponent -= static_cast<int64_t>(digits.size() - point - 1);
    digits.erase(point, 1);
  }
  return normal(negative, digits, exponent);
}

std::optional<Decimal> Decimal::parse(std::string_view json) {
  Decimal out = exact(json);
  if (out.is_zero()) return out;
  if (out.exponent < -kMaxExponent || out.magnitude() > kMaxExponent) return std::nullopt;
  if (out.exponent > kMaxExponent || out.digits.size() > kMaxExponent) return std::nullopt;
  return out;
}

Decimal Decimal::of(uint64_t value) {
  return normal(false, std::to_string(value), 0);
}

Decimal Decimal::negated() const {
  Decimal out = *this;
  out.negative = !negative && !is_zero();
  return out;
}

uint64_t Decimal::hash() const {
  return mix(hash_bytes(digits, negative ? 1 : 0), static_cast<uint64_t>(exponent));
}

int compare_fraction(std::string_view a, std::string_view b) {
  const size_t shared = std::min(a.size(), b.size());
  const int order = a.substr(0, shared).compare(b.substr(0, shared));
  if (order != 0) return order < 0 ? -1 : 1;
  const std::string_view rest = a.size() > b.size() ? a.substr(shared) : b.substr(shared);
  if (rest.find_first_not_of('0') == std::string_view::npos) return 0;
  return a.size() > b.size() ? 1 : -1;
}

int compare(const Decimal& a, const Decimal& b) {
  const int sign_a = a.is_zero() ? 0 : (a.negative ? -1 : 1);
  const int sign_b = b.is_zero() ? 0 : (b.negative ? -1 : 1);
  if (sign_a != sign_b) return sign_a < sign_b ? -1 : 1;
  if (sign_a == 0) return 0;
  int order = 0;
  if (a.magnitude() != b.magnitude()) {
    order = a.magnitude() < b.magnitude() ? -1 : 1;
  } else {
    order = compare_fraction(a.digits, b.digits);
  }
  return a.negative ? -order : order;
}

std::string scaled_down(const Decimal& value, int32_t exponent) {
  const int32_t shift = value.exponent - exponent;
  if (value.is_zero()) return "";
  if (shift >= 0) return value.digits + std::string(static_cast<size_t>(shift), '0');
  const auto drop = static_cast<size_t>(-shift);
  return drop >= value.digits.size() ? "" : value.digits.substr(0, value.digits.size() - drop);
}

std::string scaled_up(const Decimal& value, int32_t exponent) {
  const std::string down = scaled_down(value, exponent);
  // Digits never end in zero, so dropping any of them loses something.
  return value.exponent < exponent && !value.is_zero() ? natural::increment(down) : down;
}

std::optional<Step> Step::of(const Decimal& value) {
  const auto a = natural::small(value.digits);
  if (!a) return std::nullopt;
  return Step{*a, value.exponent};
}

std::optional<Step> Step::with(const Step& other) const {
  if (a == 0) return other;
  if (other.a == 0) return *this;
  if (divides(std::to_string(other.a), other.b)) return other;
  if (other.divides(std::to_string(a), b)) return *this;
  __extension__ using Wide = unsigned __int128;
  const int32_t low = std::min(b, other.b);
  if (std::max(b, other.b) - low > 18) return std::nullopt;
  Wide left = a, right = other.a;
  for (int32_t i = low; i < b; ++i) left *= 10;
  for (int32_t i = low; i < other.b; ++i) right *= 10;
  Wide x = left, y = right;
  while (y != 0) {
    const Wide rest = x % y;
    x = y;
    y = rest;
  }
  const Wide quotient = left / x;
  if (quotient > ~Wide{0} / right) return std::nullopt;
  Wide product = quotient * right;
  int32_t exponent = low;
  while (product % 10 == 0) {
    product /= 10;
    ++exponent;
  }
  if (product > kMax) return std::nullopt;
  return Step{static_cast<uint64_t>(product), exponent};
}

Decimal Step::value() const {
  return normal(false, std::to_string(a), b);
}

bool Step::divides(std::string_view digits, int32_t exponent) const {
  if (a == 0 || digits.empty()) return true;
  if (exponent < b) {
    const auto zeros = static_cast<size_t>(b - exponent);
    if (zeros >= digits.size()) return false;
    if (digits.find_last_not_of('0') + zeros >= digits.size()) return false;
    return natural::modulo(digits.substr(0, digits.size() - zeros), a) == 0;
  }
  uint64_t rest = a / std::gcd(a, natural::modulo(digits, a));
  const int twos = strip_factor(rest, 2);
  const int fives = strip_factor(rest, 5);
  return rest == 1 && std::max(twos, fives) <= exponent - b;
}

}  // namespace treadle
