// The local times of a leap second.
#pragma once

#include "grammar/ir/node.h"

namespace treadle {

class Store;

// `hh:mm:60` with optional fraction and an offset that makes it 23:59:60 UTC. After the minute only
// one offset of each sign is left, so the node keeps the digits read and works the offset out,
// where a union would spell 2,880 times. Source: RFC 3339 section 5.7.
NodeRef leap_second(Store& store);

}  // namespace treadle
