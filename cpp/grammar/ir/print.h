// Grammars as EBNF text.
#pragma once

#include <string>

#include "grammar/ir/store.h"
#include "support/result.h"

namespace treadle {

// EBNF whose rule `root` has the language of `root`, for parse_ebnf. What is no text is written
// with the macros Bytes, Both and Not. JSON values derive lazily and have no such text:
// `unsupported`. At most `source_bytes` of the store's limits are written.
Result<std::string> print_ebnf(Store& store, NodeRef root);

}  // namespace treadle
