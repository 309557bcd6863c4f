// Regular nodes that remember the text they have read, for rules behind them that depend on it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "grammar/ir/node.h"

namespace treadle {

class Store;

// The language of the regular node `inner`, as one leaf; empty() when it has no member. A residual
// is such a leaf or a union of them, never a sequence with one in it: recorded nodes stand behind
// the border of a rule (recorded_rule).
NodeRef recorded(Store& store, NodeRef inner, std::string read = {});

// A rule whose body is recorded(inner); `inner` has members.
NodeRef recorded_rule(Store& store, NodeRef inner);

// For a recorded leaf: the node without its memory. empty() for every other node.
NodeRef recorded_inner(const Store& store, NodeRef node);

// The same leaf with another language of the rest.
NodeRef with_inner(Store& store, NodeRef leaf, NodeRef inner);

// The residual without any memory.
NodeRef unrecorded(Store& store, NodeRef residual);

// What those parts of a residual have read that may end here.
std::vector<std::string> records(const Store& store, NodeRef residual);

}  // namespace treadle
