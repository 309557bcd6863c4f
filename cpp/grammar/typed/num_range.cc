#include "grammar/typed/num_range.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "support/hash.h"

namespace treadle {
namespace {

// Divides `value` by `factor` as often as possible, at most `most` times; returns how often.
int32_t take_factor(uint64_t& value, uint64_t factor, int32_t most) {
  int32_t count = 0;
  while (count < most && value % factor == 0) {
    value /= factor;
    ++count;
  }
  return count;
}

std::string_view drop_digits(std::string_view digits, size_t count) {
  return digits.substr(0, count >= digits.size() ? 0 : digits.size() - count);
}

// The least x for which digits × 10^x is a multiple of the step; nothing if none is.
std::optional<int32_t> least_power(std::string_view digits, const Step& step) {
  uint64_t rest = step.a / std::gcd(step.a, natural::modulo(digits, step.a));
  const int32_t twos = take_factor(rest, 2, 64);
  const int32_t fives = take_factor(rest, 5, 64);
  if (rest != 1) return std::nullopt;
  if (twos + fives > 0) return std::max(twos, fives) + step.b;
  auto zeros = static_cast<int32_t>(digits.size() - 1 - digits.find_last_not_of('0'));
  while (natural::modulo(drop_digits(digits, static_cast<size_t>(zeros)), step.a) != 0) --zeros;
  return step.b - zeros;
}

uint64_t hash_bound(uint64_t seed, const Bound& bound) {
  return mix(mix(seed, bound.value.hash()), bound.open ? 1 : 0);
}

}  // namespace

uint64_t Magnitudes::hash() const {
  uint64_t h = hash_bound(mix(step.a, static_cast<uint64_t>(step.b)), lo);
  h = mix(h, static_cast<uint64_t>(spelling));
  for (const Step& other : avoid) h = mix(mix(h, other.a), static_cast<uint64_t>(other.b));
  return hi ? hash_bound(h, *hi) : h;
}

Digest Magnitudes::digest() const {
  Digest out = Digest::of(static_cast<uint64_t>(spelling));
  auto add_bound = [&](const Bound& bound) {
    out.add(uint64_t{bound.open} << 1 | bound.value.negative).add(bound.value.digits);
    out.add(static_cast<uint64_t>(bound.value.exponent));
  };
  auto add_step = [&](const Step& each) { out.add(each.a).add(static_cast<uint64_t>(each.b)); };
  add_bound(lo);
  out.add(hi ? 1 : 0);
  if (hi) add_bound(*hi);
  add_step(step);
  for (const Step& other : avoid) add_step(other);
  return out.add(avoid.size());
}

std::optional<Magnitudes> Magnitudes::of(const NumberSet& set, bool negative) {
  auto low = set.lo, high = set.hi;
  if (negative) {
    std::swap(low, high);
    if (low) low->value = low->value.negated();
    if (high) high->value = high->value.negated();
  }
  Magnitudes out;
  out.step = set.step;
  out.avoid = set.avoid;
  out.spelling = set.spelling;
  out.hi = high;
  for (const Step& other : out.avoid) {
    const bool all = out.step.a != 0 && other.divides(std::to_string(out.step.a), out.step.b);
    if (all) return std::nullopt;
  }
  if (low && !low->value.negative) out.lo = *low;
  if (out.hi) {
    const int order = compare(out.lo.value, out.hi->value);
    if (order > 0 || (order == 0 && (out.lo.open || out.hi->open))) return std::nullopt;
  }
  // The first multiple above zero: then the bound says no more than "not zero".
  if (out.step.a != 0 && !out.lo.value.is_zero()) {
    const int order = compare(out.lo.value, out.step.value());
    if (order < 0 || (order == 0 && !out.lo.open)) out.lo = Bound{Decimal{}, true};
  }
  return out;
}

bool Magnitudes::is_everything() const {
  return lo.value.is_zero() && !lo.open && !hi && step.a == 0 && avoid.empty();
}

bool Magnitudes::is_coarse() const {
  return lo.value.is_zero() && !hi && step.a <= 1 &&
         std::all_of(avoid.begin(), avoid.end(), [](const Step& other) { return other.a == 1; });
}

bool Magnitudes::has_zero() const {
  return avoid.empty() && lo.value.is_zero() && !lo.open &&
         (!hi || !hi->value.is_zero() || !hi->open);
}

bool Magnitudes::digits_only() const {
  return spelling != Spelling::any && step.a != 0 && step.b >= 0;
}

int32_t Magnitudes::room(uint64_t most) const {
  int64_t out = kPlainDigits;
  if (spelling != Spelling::plain) {
    out = int64_t{1} << 20;
  } else {
    const auto length = [](const Decimal& value) {
      return std::max<int64_t>(static_cast<int64_t>(value.digits.size()), value.magnitude()) + 2;
    };
    out = std::max(out, length(lo.value));
    if (hi) out = std::max(out, length(hi->value));
    if (step.a != 0) out = std::max(out, length(step.value()));
  }
  return static_cast<int32_t>(std::min<uint64_t>(most, static_cast<uint64_t>(out)));
}

std::string Magnitudes::stand_in(std::string digits) const {
  const size_t zeros = digits.size() - 1 - digits.find_last_not_of('0');
  // Without a step nobody asks for trailing zeros, nor where only digits may follow.
  const bool free = avoid.empty() && (step.a == 0 || (step.a == 1 && step.b == 0 && digits_only()));
  if (is_coarse()) return free ? "1" : "1" + std::string(zeros, '0');
  if (step.a > 1 || !avoid.empty()) return digits;
  // Bounds are compared as fractions 0.ddd: one that does not begin with these digits lies above or
  // below them for good.
  std::string_view low = lo.value.digits, high = hi ? std::string_view(hi->value.digits) : low;
  if (low.empty()) low = high;  // zero is below every digit
  if (compare_fraction(low, high) > 0) std::swap(low, high);
  const auto open = [&](std::string_view bound) {
    const std::string_view shown = bound.substr(0, digits.size());
    return digits.starts_with(shown) && digits.find_first_not_of('0', shown.size()) == digits.npos;
  };
  if (open(low) || open(high)) return digits;
  // The greatest digits above both, the least below both, the least between them.
  const size_t size = digits.size();
  std::string out(size, '0');
  if (compare_fraction(digits, high) > 0) {
    std::fill_n(out.begin(), size - (free ? 0 : zeros), '9');
  } else if (compare_fraction(digits, low) < 0) {
    if (!free) out[size - zeros - 1] = '1';
    out.front() = '1';
  } else if (free) {
    low.copy(out.data(), size);
    out = natural::increment(out);
  } else {
    out = std::move(digits);
  }
  return out;
}

ExponentRange Magnitudes::exponents(std::string_view digits, int32_t scale) const {
  ExponentRange out;
  constexpr ExponentRange kNothing{1, 0};
  if (digits.empty()) return has_zero() ? out : kNothing;
  const auto size = static_cast<int32_t>(digits.size());
  if (!lo.value.is_zero()) {
    const int order = compare_fraction(digits, lo.value.digits);
    const int32_t level = lo.value.magnitude() + scale - size;
    out.lo = std::max(out.lo, order > 0 || (order == 0 && !lo.open) ? level : level + 1);
  }
  if (hi) {
    if (hi->value.is_zero()) return kNothing;
    const int order = compare_fraction(digits, hi->value.digits);
    const int32_t level = hi->value.magnitude() + scale - size;
    out.hi = std::min(out.hi, order < 0 || (order == 0 && !hi->open) ? level : level - 1);
  }
  if (step.a != 0) {
    const auto least = least_power(digits, step);
    if (!least) return kNothing;
    out.lo = std::max(out.lo, *least + scale);
  }
  for (const Step& other : avoid) {
    const auto least = least_power(digits, other);
    if (least) out.hi = std::min(out.hi, *least + scale - 1);
  }
  return out;
}

bool Magnitudes::reaches(std::string_view digits, int32_t low, int32_t high, int32_t room) const {
  if (digits.empty() && has_zero()) return true;
  const auto size = static_cast<int32_t>(digits.size());
  if (hi) {
    if (hi->value.is_zero()) return false;
    high = std::min(high, hi->value.magnitude() - size);
  }
  if (!lo.value.is_zero()) low = std::max(low, lo.value.magnitude() - size);
  if (step.a != 0) {
    low = std::max(low, step.value().magnitude() - size);
    // Digits below the step's last one must be zeros, those already read too.
    const size_t last = digits.find_last_not_of('0');
    if (!digits.empty()) low = std::max(low, step.b - (size - 1 - static_cast<int32_t>(last)));
  }
  if (!avoid.empty()) {
    // Small scales show the digits that tell multiples apart, so they come first. Beyond the last
    // one tried here, more zeros would follow, not other numbers.
    int32_t fine = std::min(step.b, lo.value.exponent);
    int32_t coarse = std::max(step.b, lo.value.magnitude());
    for (const Step& other : avoid) {
      fine = std::min(fine, other.b);
      coarse = std::max(coarse, other.value().magnitude());
    }
    low = std::max(low, fine - size - 1);
    high = std::min(high, coarse + room + 1);
    for (int32_t k = low; k <= high; ++k) {
      if (reaches_at(digits, k, room)) return true;
    }
    return false;
  }
  // Without an upper bound the largest numbers fit if any does; near zero the next scale does.
  if (!hi) low = std::max(low, high);
  if (step.a == 0 && lo.value.is_zero()) low = std::max(low, high - 2);
  for (int32_t k = high; k >= low; --k) {
    if (reaches_at(digits, k, room)) return true;
  }
  return false;
}

// One scale: numbers from digits × 10^k up to (digits + 1) × 10^k, as fine as needed.
bool Magnitudes::reaches_at(std::string_view digits, int32_t k, int32_t room) const {
  int32_t finest = k - 20;  // without an upper bound, twenty digits meet every step
  if (hi) finest = step.a ? step.b : std::min(hi->value.exponent, lo.value.exponent) - 1;
  if (step.a == 0) {
    for (const Step& other : avoid) finest = std::min(finest, other.b - 1);
  }
  const int32_t extra = std::clamp(k - finest, 0, room);
  const int32_t q = k - extra;
  std::string low(digits), high(digits);
  low.append(static_cast<size_t>(extra), '0');
  high.append(static_cast<size_t>(extra), '9');
  if (digits.empty()) low = "1";
  std::string least = scaled_up(lo.value, q);
  if (lo.open && lo.value.exponent >= q) least = natural::increment(least);
  if (natural::compare(least, low) > 0) low = least;
  if (hi) {
    std::string most = scaled_down(hi->value, q);
    if (most.empty()) return false;
    if (hi->open && hi->value.exponent >= q) most = natural::decrement(most);
    if (natural::compare(most, high) < 0) high = most;
  }
  return natural::compare(low, high) <= 0 && has_multiple(low, high, q);
}

// Whether some N in [low, high] makes N × 10^q a multiple of the step, and of no other one.
bool Magnitudes::has_multiple(std::string_view low, std::string_view high, int32_t q) const {
  if (step.a == 0) return avoid.empty() || has_other(std::string(low), high, 1, 0, q);
  uint64_t a = step.a;
  std::string least(low);
  size_t zeros = 0;
  if (q >= step.b) {
    take_factor(a, 2, q - step.b);
    take_factor(a, 5, q - step.b);
  } else {
    zeros = static_cast<size_t>(step.b - q);
    const bool exact = zeros < low.size() && low.find_last_not_of('0') < low.size() - zeros;
    least = drop_digits(low, zeros);
    if (!exact) least = natural::increment(least);
    high = drop_digits(high, zeros);
  }
  if (natural::compare(least, high) > 0) return false;
  if (!avoid.empty()) {
    const uint64_t past = natural::modulo(least, a);
    return has_other(natural::add(least, past == 0 ? 0 : a - past), high, a, zeros, q);
  }
  const auto span = natural::small(natural::subtract(high, least));
  return !span || *span >= natural::modulo(high, a);
}

// Whether one of least, least + a, ... <= high, with `zeros` zeros behind, avoids every other step.
// Each of n steps takes at most every second candidate, so 2^n in a row hold a free one.
bool Magnitudes::has_other(std::string least, std::string_view high, uint64_t a, size_t zeros,
                           int32_t q) const {
  const size_t tries = size_t{1} << std::min<size_t>(avoid.size() + 1, 12);
  for (size_t i = 0; i < tries && natural::compare(least, high) <= 0; ++i) {
    const std::string digits = least + std::string(zeros, '0');
    const bool taken = std::any_of(avoid.begin(), avoid.end(),
                                   [&](const Step& other) { return other.divides(digits, q); });
    if (!taken) return true;
    least = natural::add(least, a);
  }
  return false;
}

}  // namespace treadle
