// EBNF and GBNF grammars, lowered straight to rules of the IR.
#pragma once

#include <string_view>

#include "grammar/front/rule_options.h"
#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle {

// Reads `name ::= expression` rules and returns a reference to the rule called `root`. Rules may
// refer to each other in any way, left recursion included. Errors carry "line:column"; an
// undefined or duplicate rule and a missing root are errors, a root that can never finish is
// `unsatisfiable`.
// Source of the syntax: the GBNF of llama.cpp (grammars/README.md) and the EBNF of XGrammar.
Result<NodeRef> parse_ebnf(Store& store, std::string_view text, std::string_view root,
                           const Limits& limits, RuleMarks* marks = nullptr);

}  // namespace treadle
