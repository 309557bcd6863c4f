// How long the texts of a pattern are, read off its node.
#pragma once

#include <cstdint>

#include "grammar/ir/store.h"

namespace treadle::schema {

// In code points. `most` is kEndless where nothing bounds the texts or the bound is not plain.
struct TextLength {
  static constexpr uint64_t kEndless = uint64_t{1} << 40;
  uint64_t least = 0;
  uint64_t most = kEndless;
};

// Bounds for every UTF-8 text of a regular node; exact ones unless the node holds an intersection
// or complement. Linear in the size of the node.
TextLength length_of(const Store& store, NodeRef text);

}  // namespace treadle::schema
