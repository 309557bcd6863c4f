// Every text but the listed ones: the keys that an object's schema does not name.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "grammar/ir/node.h"

namespace treadle {

class Store;

// All UTF-8 texts that equal none of the words. One leaf, whose derivative narrows a sorted range,
// where the complement of a union would derive every word.
NodeRef other_text(Store& store, std::span<const std::string_view> words);

// For a node that is an other_text() or the rest of one: what is left of the words it does not
// equal, valid as long as the store is. None for every other node.
std::vector<std::string_view> words_left_out(const Store& store, NodeRef node);

}  // namespace treadle
