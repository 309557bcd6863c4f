// Lark grammars, lowered to rules of the IR. There is no lexer: a terminal is a regular language in
// its place, so nothing depends on which terminal matches longest.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/front/rule_options.h"
#include "grammar/front/schema.h"
#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle {

struct LarkOptions {
  std::string start = "start";
  // The grammars that `@name` refers to, as Lark text; their first rule is `start`.
  std::vector<std::pair<std::string, std::string>> named;
};

// The texts derived from the rule `start`. Ignored terminals may follow every lexeme of a rule.
// Errors carry "line:column", within a named grammar "@name line:column": undefined or duplicate
// names, rules inside terminals, recursive terminals, and what would need a lexer (lazy marks,
// assertions that look beyond a terminal) or tokens (special tokens, rule options).
// Source of the syntax: lark 1.3 (docs/grammar.md) and llguidance (docs/syntax.md, parametric.md).
Result<NodeRef> parse_lark(Store& store, std::string_view text, const LarkOptions& options,
                           const Limits& limits, Notes& notes, RuleMarks* marks = nullptr);

}  // namespace treadle
