// The parts that object.cc and keys.cc share: states, what may follow, the rest after a key.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "grammar/typed/object.h"

namespace treadle {

// A named key that may come next with its plain value (bit 0 of `ways`) or its claims (bit 1 on).
struct Offered {
  uint32_t key = 0;
  uint32_t ways = 1;
};
inline constexpr size_t kMostClaims = 31;

// What may come next, in the order of the names.
using Offer = std::shared_ptr<const std::vector<Offered>>;

// One key read: a named one or (kOpen) another, and the goals that it reaches.
struct KeyRead {
  uint32_t key = kOpen;
  uint32_t gain = 0;
};

// Optional whitespace, up to `most` characters.
NodeRef json_space(Store& store, uint32_t most);

ObjectState after_key(const ObjectForm& form, const ObjectState& state, KeyRead read);

// From a key's closing quote (with a frame: its end) to the end of the object.
NodeRef after_name(Store& store, const ObjectFormRef& form, const ObjectState& state, KeyRead read,
                   NodeRef value);

// The same for a named key, with its plain value or any of the claims that are offered.
NodeRef after_offered(Store& store, const ObjectFormRef& form, const ObjectState& state,
                      Offered offered);

// The named keys offer[low..high), which agree in their first `depth` bytes: the rest of the key,
// its value, the rest of the object.
NodeRef key_choices(Store& store, const ObjectFormRef& form, const ObjectState& state,
                    const Offer& offer, uint32_t low, uint32_t high, uint32_t depth);

}  // namespace treadle
