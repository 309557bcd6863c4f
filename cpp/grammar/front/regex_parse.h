// The passes over a pattern's tree. Each is one file; regex_lower.cc joins them.
#pragma once

#include <string_view>

#include "grammar/front/regex.h"
#include "grammar/front/regex_ast.h"
#include "support/budget.h"
#include "support/result.h"

namespace treadle::regex {

// What the later passes need of a pattern: its tree and which characters tell places apart.
struct Parsed {
  Ast ast;
  Id root = 0;
  bool borders = false;       // some \b or \B
  bool line_anchors = false;  // some ^ or $ under the flag m
  bool ignore_case = false;   // some \b under the flag i
};

// Reads the pattern. Errors: syntax and unsupported, with the offset; `source_depth` for nesting.
Result<Parsed> parse(std::string_view pattern, const RegexOptions& options, const Limits& limits,
                     Fuel& fuel);

// Replaces every lookahead by an intersection with the text that follows it, every lookbehind by
// one with the text that precedes it, and adds free text around a pattern in search mode. The new
// root has no look nodes.
Result<Id> resolve_looks(Ast& ast, Id root, bool search, Fuel& fuel);

// Lowers a tree without look nodes, as the language of whole texts.
Result<NodeRef> lower(Store& store, const Parsed& parsed, Id root, Fuel& fuel);

}  // namespace treadle::regex
