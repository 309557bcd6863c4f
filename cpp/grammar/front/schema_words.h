// Languages of keys that are small enough to be listed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "grammar/ir/store.h"

namespace treadle::schema {

// All texts of a regular node, in the order of their bytes, if there are at most 64; nothing if
// there are more, or if listing them takes too long.
std::optional<std::vector<std::string>> words_of(Store& store, NodeRef text, Fuel& fuel);

// Whether the regular node has more than `count` words. False, too, where that takes long to see.
bool more_words(Store& store, NodeRef text, uint64_t count, Fuel& fuel);

}  // namespace treadle::schema
