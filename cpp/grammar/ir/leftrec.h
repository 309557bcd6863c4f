// Left recursion, turned into repetition once, before the first step.
#pragma once

#include "grammar/ir/store.h"

namespace treadle {

// Rewrites every rule reachable from `root` that can begin with itself, directly, through other
// rules or behind parts that may be empty. The language of each rule stays the same. Rules below
// typed rules are not looked at: those begin with a byte of their own.
Status remove_left_recursion(Store& store, NodeRef root, Fuel& fuel);

}  // namespace treadle
