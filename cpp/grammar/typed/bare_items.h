// Items of an array one after another: no brackets, no commas.
#pragma once

#include "grammar/typed/array.h"

namespace treadle {

// The items with optional white space around them. Each item says itself where it ends; what
// encloses the list says where that does.
NodeRef bare_items(Store& store, ArrayFormRef form);

}  // namespace treadle
