// Conjunctions with so few values that each can be told from the others.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "grammar/front/schema_form.h"

namespace treadle::schema {

inline constexpr size_t kListedValues = 256;

// One value in every spelling; equal values have equal keys.
struct Listed {
  std::string key;
  NodeRef node = 0;
};

// All values that meet the conjunction, written as in the place `role`, or nothing when they are
// too many to list: numbers in an enumeration or between two bounds, texts of a small language,
// arrays and objects of an enumeration.
Result<std::optional<std::vector<Listed>>> values_of(Store& store, const SourceRef& source,
                                                     const Conj& conj, Place place, bool loose,
                                                     Fuel& fuel);

}  // namespace treadle::schema
