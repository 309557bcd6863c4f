// Regular expressions: ECMA-262 syntax, lowered to a regular node over UTF-8.
#pragma once

#include <string_view>

#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle {

struct RegexOptions {
  bool search = false;       // match anywhere in the text (schema `pattern`), else the whole text
  bool ignore_case = false;  // i: simple case folding of Unicode
  bool multiline = false;    // m: ^ and $ also stand at line borders
  bool dot_all = false;      // s: . also matches line ends
  bool extended = false;     // x: blanks and #-comments outside classes are skipped
  // A terminal of Lark: \d \w \s are Unicode's, the dot stops at LF alone, {,n} repeats, and
  // whatever looks beyond the terminal (anchors, \b, lookaround) is refused.
  bool terminal = false;
};

// Reads flag letters: i s m x, and u, which is always on. Unknown letters are a syntax error.
Result<RegexOptions> regex_flags(std::string_view flags, RegexOptions options = {});

// The language of a pattern: all valid UTF-8 texts that it matches. Exact or refused:
// backreferences, lookaround under a quantifier, \b under a quantifier, script extensions and
// lookbehind after a lookahead within the text are GrammarErrors with reason `unsupported`.
// `at` of every error is "offset N", counted in code points of the pattern. Repetition bounds stay
// counters. Lookahead and lookbehind become intersections with what follows and what precedes.
// Source of the syntax: ECMA-262 (2025), section 22.2.1 and annex B.1.2.
Result<NodeRef> parse_regex(Store& store, std::string_view pattern, const RegexOptions& options,
                            const Limits& limits);

}  // namespace treadle
