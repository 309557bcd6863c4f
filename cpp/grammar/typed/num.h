// JSON numbers inside an exact set: an interval cut with the multiples of a step.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grammar/ir/node.h"
#include "grammar/typed/decimal.h"

namespace treadle {

class Store;

struct Bound {
  Decimal value;
  bool open = false;  // the value itself is excluded
  bool operator==(const Bound&) const = default;
};

// How a number may be written. `plain`: integers by their digits alone, others with at most
// kPlainDigits digits (more where a bound has more). A model that may write 1.000… for 1 sometimes
// does not stop. `whole`: integers by their digits alone, as many as with `any`; others as with it.
enum class Spelling : uint8_t { any, plain, whole };
inline constexpr int32_t kPlainDigits = 24;

// What `minimum`, `maximum`, `multipleOf`, their variants and `integer` (step 1) say together.
struct NumberSet {
  std::optional<Bound> lo, hi;
  Step step;
  std::vector<Step> avoid;  // no multiple of these
  Spelling spelling = Spelling::any;

  bool operator==(const NumberSet&) const = default;
  void at_least(const Bound& bound);  // keeps the tighter bound
  void at_most(const Bound& bound);
  [[nodiscard]] bool has(const Decimal& value) const;
};

// Every allowed spelling of every member of the set. With Spelling::any: `-0`, `1.0`, `10e-1`,
// exponents of up to three digits, mantissas of up to Limits::number_digits digits (on either side
// of the point, where the value is free). empty() when there is none.
NodeRef number_node(Store& store, const NumberSet& set);

}  // namespace treadle
