// Where the tokens of a JSON text stand: whitespace at will, or as json.dumps writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "grammar/ir/node.h"
#include "support/result.h"

namespace treadle {

class Store;

// Fixed places, as those of Python's json.dumps.
struct Layout {
  std::string comma = ", ";        // between items
  std::string colon = ": ";        // behind a key
  std::optional<uint32_t> indent;  // spaces a level, and a line for each item; none: a single line
  bool operator==(const Layout&) const = default;
};

// What stands around the items of an array or object, all of them nodes.
struct Spacing {
  NodeRef any = 0;    // optional whitespace; eps() where places are fixed
  NodeRef open = 0;   // before the first item
  NodeRef comma = 0;  // before each later one
  NodeRef colon = 0;  // behind a key's closing quote
  NodeRef close = 0;  // before the end, behind an item
  bool operator==(const Spacing&) const = default;
};

inline constexpr uint32_t kUsualSpace = 64;

// `whitespace`: longest optional run, without a layout. `depth`: arrays and objects around this
// one.
Spacing spacing_of(Store& store, uint32_t whitespace, const std::optional<Layout>& layout,
                   uint32_t depth);

// The end of an array or object (empty(): it cannot end here) or its next item and the rest.
NodeRef end_or_item(Store& store, const Spacing& spacing, bool first, NodeRef end, NodeRef item);

// Separators are a comma and a colon among whitespace, neither run nor indent above `most`.
Status check_layout(const Layout& layout, uint64_t most);

}  // namespace treadle
