// JSON arrays: a schema by index, then the rest schema, between two counts.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "grammar/ir/node.h"
#include "grammar/typed/layout.h"

namespace treadle {

class Store;

struct ArrayForm {
  std::vector<NodeRef> prefix;  // values of the first items
  NodeRef rest = 0;             // value of every later item; empty(): there is none
  uint32_t min = 0;
  uint32_t max = kOpen;
  Spacing spacing;
  bool operator==(const ArrayForm&) const = default;
  [[nodiscard]] NodeRef item(uint32_t index) const {
    return index < prefix.size() ? prefix[index] : rest;
  }
  uint64_t hash = 0;

  void seal();  // fills hash
};

using ArrayFormRef = std::shared_ptr<const ArrayForm>;

// The whole array, from [ to ]. An item is offered only if the array can still be completed.
NodeRef array_node(Store& store, ArrayFormRef form);

// An item's value and the counters that it raises. A choice that stands for one value (`once`, a
// number below CountedForm::values) is taken at most once.
struct ItemChoice {
  uint32_t hits = 0;
  NodeRef value = 0;
  uint32_t once = kOpen;
  bool operator==(const ItemChoice&) const = default;
};

struct ItemCounter {
  uint32_t min = 0;
  uint32_t max = kOpen;  // then an item may be left uncounted
  bool operator==(const ItemCounter&) const = default;
};

// An array whose items are also counted. The choices of one item cover its values; of a counter
// with a maximum they also part them, so that what is not counted must not be.
struct CountedForm {
  std::vector<std::vector<ItemChoice>> regions;  // by index; the last one is for all later items
  std::vector<ItemCounter> counters;
  uint32_t values = 0;  // above 0: every choice has a `once`
  bool bare = false;    // written without brackets and commas, as by bare_items()
  uint32_t min = 0;
  uint32_t max = kOpen;
  Spacing spacing;
  bool operator==(const CountedForm&) const = default;
};

using CountedFormRef = std::shared_ptr<const CountedForm>;

// The whole array, from [ to ]; if bare, all its items.
NodeRef counted_array_node(Store& store, CountedFormRef form);

}  // namespace treadle
