// Every text but the listed ones: the keys that an object's schema does not name.
#pragma once

#include <span>
#include <string_view>

#include "grammar/ir/node.h"

namespace treadle {

class Store;

// All UTF-8 texts that equal none of the words. One leaf, whose derivative narrows a sorted range,
// where the complement of a union would derive every word.
NodeRef other_text(Store& store, std::span<const std::string_view> words);

}  // namespace treadle
