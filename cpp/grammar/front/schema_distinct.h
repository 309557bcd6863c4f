// Items that `uniqueItems` can tell apart without listing them: scalars of languages so large that
// no array can use them up.
#pragma once

#include <optional>
#include <span>

#include "grammar/front/schema_form.h"
#include "grammar/typed/distinct.h"

namespace treadle::schema {

// What the alternatives (a value meets one of them) allow, or nothing where they hold arrays,
// objects or too few values for an array of up to `most` items. An item without values has none of
// anything.
Result<std::optional<DistinctItem>> distinct_item(Store& store, const SourceRef& source,
                                                  std::span<const Conj> alternatives, bool loose,
                                                  uint32_t most, Fuel& fuel);

// Whether the item has values.
bool some_value(const DistinctItem& item);

}  // namespace treadle::schema
