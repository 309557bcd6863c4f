// Unicode properties that patterns can name, and simple case folding.
#pragma once

#include <optional>
#include <string_view>

#include "grammar/ir/charset.h"
#include "support/budget.h"

namespace treadle {

// The set of \p{name}: a general category by short or long name, alone or as gc=... or
// General_Category=..., a script as sc=... or Script=..., or Any, ASCII, Assigned. nullopt: no such
// property in this table.
std::optional<CharSet> unicode_property(std::string_view name);

// Adds every code point that folds to the same as a member. Work: the cased members of the set.
CharSet close_under_case(const CharSet& set, Fuel& fuel);

}  // namespace treadle
