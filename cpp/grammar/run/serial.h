// Grammars as versioned JSON, and compiled grammars as checksummed blocks.
#pragma once

#include <string>
#include <string_view>

#include "grammar/run/source.h"

namespace treadle {

// {"format": "treadle-grammar", "version": 1, "sources": [...]}: every source by its text and
// options, parts before what they are part of and named by their index.
std::string dump_grammar(const Source& source);
// The source of dump_grammar(); not read further, so building it may still fail. What is no such
// text, or of another version, is an error with reason `format`.
Result<SourceRef> load_grammar(std::string_view json, const Limits& limits);

// One line with version, vocabulary hash and checksum, then the grammar.
std::string dump_block(const Source& source, std::string_view vocabulary);
// The source of a block for this vocabulary; any other, and a damaged block, is a `format` error.
Result<SourceRef> load_block(std::string_view block, std::string_view vocabulary,
                             const Limits& limits);

}  // namespace treadle
