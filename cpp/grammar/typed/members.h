// The parts that object.cc and keys.cc share: states, what may follow, the rest after a key.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "grammar/typed/object.h"

namespace treadle {

// The named keys that may come next, in the order of their names.
using Offer = std::shared_ptr<const std::vector<uint32_t>>;

// Optional whitespace, up to `most` characters.
NodeRef json_space(Store& store, uint32_t most);

// The state after the named key, or (kOpen) after one of the others.
ObjectState after_key(const ObjectForm& form, const ObjectState& state, uint32_t key);

// From a key's closing quote (with a frame: its end) to the end of the object.
NodeRef after_name(Store& store, const ObjectFormRef& form, const ObjectState& state, uint32_t key,
                   NodeRef value);

// The named keys offer[low..high), which agree in their first `depth` bytes: the rest of the key,
// its value, the rest of the object.
NodeRef key_choices(Store& store, const ObjectFormRef& form, const ObjectState& state,
                    const Offer& offer, uint32_t low, uint32_t high, uint32_t depth);

}  // namespace treadle
