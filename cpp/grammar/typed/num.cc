#include "grammar/typed/num.h"

#include <algorithm>
#include <utility>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/num_range.h"
#include "support/hash.h"

namespace treadle {
namespace {

enum class Phase : uint8_t {
  start,            // nothing, or only the sign, has been read
  zero,             // "0"
  whole,            // digits before the point
  point,            // "."
  fraction,         // digits after the point
  exponent,         // "e"
  exponent_sign,    // "e+"
  exponent_digits,  // "e+1"
};

struct NumState {
  Phase phase = Phase::start;
  std::string digits;  // of the mantissa read so far, without leading zeros
  int32_t scale = 0;   // how many of them stand after the point
  int32_t room = 0;    // how many more may follow
  // Exponent phases: what is allowed (relative to its sign), and what has been read.
  ExponentRange range;
  int32_t power = 0;
  int32_t power_digits = 0;

  bool operator==(const NumState&) const = default;
};

using Allowed = std::shared_ptr<const Magnitudes>;

bool is_digit(uint8_t byte) {
  return byte >= '0' && byte <= '9';
}

class Num final : public Typed {
 public:
  Num(Allowed allowed, NumState state)
      : Typed(TypedTag::number, true), allowed_(std::move(allowed)), state_(std::move(state)) {}

  uint64_t hash() const override {
    uint64_t h = mix(static_cast<uint64_t>(tag), static_cast<uint64_t>(state_.phase));
    h = hash_bytes(state_.digits, h);
    h = mix(h, static_cast<uint64_t>(state_.scale) << 32 | static_cast<uint32_t>(state_.room));
    h = mix(h, static_cast<uint64_t>(state_.range.lo + 5000) << 32 |
                   static_cast<uint32_t>(state_.range.hi + 5000));
    h = mix(h,
            static_cast<uint64_t>(state_.power) << 8 | static_cast<uint64_t>(state_.power_digits));
    return mix(h, allowed_->hash());
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const Num&>(other);
    return state_ == that.state_ && (allowed_ == that.allowed_ || *allowed_ == *that.allowed_);
  }
  Digest digest(Store&) const override {
    Digest out = Digest::of(static_cast<uint64_t>(tag)).add(static_cast<uint64_t>(state_.phase));
    out.add(state_.digits);
    out.add(static_cast<uint64_t>(state_.scale) << 32 | static_cast<uint32_t>(state_.room));
    out.add(static_cast<uint64_t>(state_.range.lo) << 32 | static_cast<uint32_t>(state_.range.hi));
    out.add(static_cast<uint64_t>(state_.power) << 32 | static_cast<uint32_t>(state_.power_digits));
    return out.add(allowed_->digest());
  }
  uint64_t bytes() const override { return sizeof(Num) + state_.digits.capacity(); }
  bool nullable(Store&) const override;
  ByteSet first(Store&) const override;
  ByteSet same(Store&, uint8_t byte) const override;
  NodeRef derive(Store& store, uint8_t byte) const override;

 private:
  Allowed allowed_;
  NumState state_;
};

// Whether the text read so far has a completion.
bool live(const Magnitudes& allowed, const NumState& state) {
  constexpr int32_t kTop = kTopExponent;
  const bool bare = allowed.digits_only();
  switch (state.phase) {
    case Phase::start:
      return true;  // number_node asks for each first digit
    case Phase::zero:
      if (bare) return allowed.has_zero();
      return allowed.has_zero() || (state.room > 0 && allowed.reaches("", -kTop, kTop, state.room));
    case Phase::whole:
      if (bare) return allowed.reaches(state.digits, 0, state.room, state.room);
      return allowed.reaches(state.digits, -kTop, kTop, state.room);
    case Phase::point:
      return state.room > 0 && allowed.reaches(state.digits, -kTop, kTop, state.room);
    case Phase::fraction:
      return allowed.reaches(state.digits, -kTop - state.scale, kTop - state.scale, state.room);
    case Phase::exponent:
    case Phase::exponent_sign:
    case Phase::exponent_digits:
      break;
  }
  int64_t low = state.power, high = state.power;
  for (int32_t more = 0; more <= 3 - state.power_digits; ++more) {
    const bool complete = state.power_digits + more > 0;
    if (complete && low <= state.range.hi && high >= state.range.lo) return true;
    low *= 10;
    high = high * 10 + 9;
  }
  return false;
}

// Exponent ranges are kept relative to the sign: after "e-" the allowed interval is mirrored.
bool exponent_live(const ExponentRange& range) {
  return range.lo <= kTopExponent && range.hi >= -kTopExponent && !range.is_empty();
}

NodeRef make(Store& store, const Allowed& allowed, NumState state) {
  if (!live(*allowed, state)) return store.empty();
  return store.typed(std::make_unique<Num>(allowed, std::move(state)));
}

void push_digit(const Magnitudes& allowed, NumState& state, uint8_t byte) {
  if (!state.digits.empty() || byte != '0') state.digits.push_back(static_cast<char>(byte));
  --state.room;
  if (!state.digits.empty()) state.digits = allowed.stand_in(std::move(state.digits));
}

bool Num::nullable(Store&) const {
  switch (state_.phase) {
    case Phase::zero:
    case Phase::whole:
    case Phase::fraction:
      return allowed_->exponents(state_.digits, state_.scale).has(0);
    case Phase::exponent_digits:
      return state_.range.has(state_.power);
    default:
      return false;
  }
}

ByteSet Num::first(Store&) const {
  ByteSet out = ByteSet::range('0', '9');
  switch (state_.phase) {
    case Phase::zero:
      out = ByteSet();
      [[fallthrough]];
    case Phase::whole:
      if (allowed_->digits_only()) break;
      out.insert('.');
      [[fallthrough]];
    case Phase::fraction:
      out.insert('e');
      out.insert('E');
      break;
    case Phase::exponent:
      out.insert('+');
      out.insert('-');
      break;
    default:
      break;
  }
  return out;
}

ByteSet Num::same(Store&, uint8_t byte) const {
  ByteSet out = ByteSet::of(byte);
  if (byte == 'e' || byte == 'E') {
    out.insert('e');
    out.insert('E');
  } else if (byte >= '1' && byte <= '9' && allowed_->is_coarse() &&
             state_.phase <= Phase::fraction) {
    out |= ByteSet::range('1', '9');
  }
  return out;
}

NodeRef Num::derive(Store& store, uint8_t byte) const {
  NumState next = state_;
  if (state_.phase <= Phase::fraction) {
    const bool has_digits = state_.phase != Phase::start && state_.phase != Phase::point;
    if (is_digit(byte)) {
      if (state_.phase == Phase::zero || state_.room == 0) return store.empty();
      const bool after_point = state_.phase == Phase::point || state_.phase == Phase::fraction;
      push_digit(*allowed_, next, byte);
      if (after_point) ++next.scale;
      next.phase = after_point ? Phase::fraction : Phase::whole;
      if (state_.phase == Phase::start && byte == '0') next.phase = Phase::zero;
    } else if (allowed_->digits_only()) {
      return store.empty();
    } else if (byte == '.' && (state_.phase == Phase::zero || state_.phase == Phase::whole)) {
      next.phase = Phase::point;
    } else if ((byte == 'e' || byte == 'E') && has_digits) {
      next = NumState{};
      next.phase = Phase::exponent;
      next.range = allowed_->exponents(state_.digits, state_.scale);
      if (!exponent_live(next.range)) return store.empty();
      // Either sign may follow, so the check of one sign does not apply here.
      return store.typed(std::make_unique<Num>(allowed_, std::move(next)));
    } else {
      return store.empty();
    }
    return make(store, allowed_, std::move(next));
  }
  if (byte == '+' || byte == '-') {
    if (state_.phase != Phase::exponent) return store.empty();
    next.phase = Phase::exponent_sign;
    if (byte == '-') next.range = ExponentRange{-state_.range.hi, -state_.range.lo};
  } else if (is_digit(byte) && state_.power_digits < 3) {
    next.phase = Phase::exponent_digits;
    next.power = state_.power * 10 + (byte - '0');
    ++next.power_digits;
  } else {
    return store.empty();
  }
  return make(store, allowed_, std::move(next));
}

NodeRef any_magnitude(Store& store, uint32_t most) {
  const NodeRef digit = store.byte_set(ByteSet::range('0', '9'));
  const NodeRef sign = store.optional(store.alt(store.bytes("+"), store.bytes("-")));
  const NodeRef whole = store.alt(
      store.bytes("0"),
      store.cat(store.byte_set(ByteSet::range('1', '9')), store.repeat(digit, 0, most - 1)));
  const NodeRef fraction = store.cat(store.bytes("."), store.repeat(digit, 1, most));
  const NodeRef e = store.alt(store.bytes("e"), store.bytes("E"));
  const NodeRef exponent = store.cat(e, store.cat(sign, store.repeat(digit, 1, 3)));
  return store.cat(whole, store.cat(store.optional(fraction), store.optional(exponent)));
}

NodeRef magnitude_node(Store& store, const NumberSet& set, bool negative) {
  auto range = Magnitudes::of(set, negative);
  if (!range) return store.empty();
  const int32_t room = range->room(store.limits().number_digits);
  if (range->is_everything()) return any_magnitude(store, static_cast<uint32_t>(room));
  const auto allowed = std::make_shared<const Magnitudes>(std::move(*range));
  NumState state;
  state.room = room;
  bool any = false;
  for (char digit = '0'; digit <= '9' && !any; ++digit) {
    NumState next = state;
    push_digit(*allowed, next, static_cast<uint8_t>(digit));
    next.phase = digit == '0' ? Phase::zero : Phase::whole;
    any = live(*allowed, next);
  }
  return any ? make(store, allowed, std::move(state)) : store.empty();
}

}  // namespace

void NumberSet::at_least(const Bound& bound) {
  const int order = lo ? compare(bound.value, lo->value) : 1;
  if (order > 0 || (order == 0 && bound.open)) lo = bound;
}

void NumberSet::at_most(const Bound& bound) {
  const int order = hi ? compare(bound.value, hi->value) : -1;
  if (order < 0 || (order == 0 && bound.open)) hi = bound;
}

bool NumberSet::has(const Decimal& value) const {
  const int low = lo ? compare(value, lo->value) : 1;
  const int high = hi ? compare(value, hi->value) : -1;
  if (low < 0 || (low == 0 && lo->open) || high > 0 || (high == 0 && hi->open)) return false;
  for (const Step& other : avoid) {
    if (other.divides(value.digits, value.exponent)) return false;
  }
  return step.divides(value.digits, value.exponent);
}

// Where the store keeps all numbers or all integers; last: nowhere.
static Store::Often kept_as(const NumberSet& set) {
  using enum Store::Often;
  const bool whole = set.step == Step{1, 0};
  if (set.lo || set.hi || !set.avoid.empty() || (!whole && set.step != Step{})) return last;
  if (set.spelling == Spelling::any) return whole ? integer : number;
  if (set.spelling == Spelling::plain) return whole ? plain_integer : plain_number;
  return last;
}

NodeRef number_node(Store& store, const NumberSet& set) {
  const Store::Often as = kept_as(set);
  if (as != Store::Often::last && store.often(as) != store.empty()) return store.often(as);
  const NodeRef positive = magnitude_node(store, set, false);
  const NodeRef negative = store.cat(store.bytes("-"), magnitude_node(store, set, true));
  const NodeRef made = store.alt(positive, negative);
  if (as != Store::Often::last && store.ok()) store.often(as) = made;
  return made;
}

}  // namespace treadle
