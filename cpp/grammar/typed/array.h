// JSON arrays: a schema by index, then the rest schema, between two counts.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "grammar/ir/node.h"

namespace treadle {

class Store;

struct ArrayForm {
  std::vector<NodeRef> prefix;  // values of the first items
  NodeRef rest = 0;             // value of every later item; empty(): there is none
  uint32_t min = 0;
  uint32_t max = kOpen;
  uint32_t whitespace = 0;
  bool operator==(const ArrayForm&) const = default;
};

using ArrayFormRef = std::shared_ptr<const ArrayForm>;

// The whole array, from [ to ]. An item is offered only if the array can still be completed.
NodeRef array_node(Store& store, ArrayFormRef form);

}  // namespace treadle
