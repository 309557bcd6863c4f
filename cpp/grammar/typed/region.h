// Regions of a text that a rule option speaks of: shortest matches, budgets, temperatures.
#pragma once

#include <cstdint>
#include <functional>

#include "grammar/ir/node.h"
#include "support/result.h"

namespace treadle {

class Store;

// The texts of `body` that no shorter text of `body` begins: a match ends where it first may.
NodeRef shortest(Store& store, NodeRef body);

// The texts of `body` that end where they first may once `most` characters (UTF-8 lead bytes) have
// been read. Never empty when `body` is not: a text may need more characters than that.
NodeRef within_chars(Store& store, NodeRef body, uint32_t most);

// What a region asks of the run time. Regions with equal forms are one region.
struct RegionForm {
  uint64_t name = 0;            // a hash of where it was written
  uint32_t max_tokens = kOpen;  // then it ends where it first may
  float temperature = -1;       // negative: none
  bool operator==(const RegionForm&) const = default;
};

// `body` (regular) as one leaf that remembers its form while a text is inside; the same language.
NodeRef region_node(Store& store, NodeRef body, const RegionForm& form);

// A region that a text may be in, or may enter with its next byte.
struct RegionView {
  RegionForm form;
  bool entered = false;
};

// Calls `take` with each region at the front of a residual, outer ones before those inside them.
void front_regions(const Store& store, NodeRef residual,
                   const std::function<void(const RegionView&)>& take);

// `residual` with the entered regions for which `spent` holds ending where they first may.
NodeRef end_regions(Store& store, NodeRef residual,
                    const std::function<bool(const RegionForm&)>& spent);

}  // namespace treadle
