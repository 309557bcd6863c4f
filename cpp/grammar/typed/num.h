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

// What `minimum`, `maximum`, `multipleOf`, their variants and `integer` (step 1) say together.
struct NumberSet {
  std::optional<Bound> lo, hi;
  Step step;
  std::vector<Step> avoid;  // no multiple of these

  bool operator==(const NumberSet&) const = default;
  void at_least(const Bound& bound);  // keeps the tighter bound
  void at_most(const Bound& bound);
  [[nodiscard]] bool has(const Decimal& value) const;
};

// Every spelling of every member of the set: `-0`, `1.0`, `10e-1`, exponents of up to three digits,
// mantissas of up to Limits::number_digits digits (on either side of the point, where the value is
// free). empty() when there is none.
NodeRef number_node(Store& store, const NumberSet& set);

}  // namespace treadle
