// Arrays of distinct scalars: strings and numbers of any language, compared as values.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "grammar/ir/node.h"
#include "grammar/typed/layout.h"
#include "grammar/typed/num.h"
#include "grammar/typed/str.h"

namespace treadle {

class Store;

enum ScalarName : uint8_t { kNameNull = 1, kNameFalse = 2, kNameTrue = 4 };

// The values of one item. `texts` or `numbers` hold more values than the array may have items, so
// that another one is always to be found.
struct DistinctItem {
  uint8_t names = 0;  // of ScalarName
  NodeRef texts = 0;  // decoded, regular
  std::vector<NumberSet> numbers;
  NodeRef shape = 0;  // what numbers must match as spelled; empty(): anything
  bool operator==(const DistinctItem&) const = default;
};

struct DistinctForm {
  std::vector<DistinctItem> items;  // by index; the last one is for all later items
  Escapes escapes = Escapes::any;
  NodeRef barred = 0;  // what strings must match as spelled; empty(): anything
  uint32_t min = 0;
  uint32_t max = kOpen;
  Spacing spacing;
  bool operator==(const DistinctForm&) const = default;
};

using DistinctFormRef = std::shared_ptr<const DistinctForm>;

// The whole array, from [ to ].
NodeRef distinct_array_node(Store& store, DistinctFormRef form);

// `rest` behind an item of such an array whose text was read by `residual` (see recorded.h); `rest`
// itself when it depends on no such text.
NodeRef heard(Store& store, NodeRef rest, NodeRef residual);

// A continuation that was entered without heard() knows nothing of one item: what it says of the
// items behind that one is a superset. `ends`: only of where they end, since every beginning has
// other ends; `all`: of every byte in them.
enum class Doubt : uint8_t { none, ends, all };

// What is in doubt of the item before `rest`.
Doubt doubt_before(Store& store, NodeRef rest);

}  // namespace treadle
