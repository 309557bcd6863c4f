// What nearly every grammar is made of.
#pragma once

#include "grammar/typed/num.h"

namespace treadle {

// Makes what most values are written with. A grammar of many schemas, which are read when a text
// reaches them, does so before any mask has to wait for it.
void make_scalars(Store& store, Spelling numbers);

}  // namespace treadle
