// What nearly every grammar is made of.
#pragma once

#include "grammar/typed/num.h"

namespace treadle {

// Makes what most values are written with, and reads the first bytes of it. A grammar of many
// schemas, which are read when a text reaches them, does so before any mask has to wait for it.
void make_scalars(Store& store, Spelling numbers);
// And their digests, once it is known whose key they take: that of a process before, perhaps.
void name_scalars(Store& store);

}  // namespace treadle
