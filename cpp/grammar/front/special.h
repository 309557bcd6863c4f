// Token terminals and rule options of EBNF and Lark: what speaks of whole tokens or of one run of a
// rule, not of bytes. Both dialects read them here, and here alone they are refused until the run
// time knows them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "grammar/ir/store.h"
#include "support/result.h"

namespace treadle {

// `<name>`, `<[1,3-8]>`, `<[^1]>`, `<[*]>`, `!<...>`: the length of the one that `text` begins
// with, 0 if it begins with none.
size_t token_terminal_size(std::string_view text);
// The tokens that it stands for. Always `unsupported` for now, `syntax` if malformed.
Result<NodeRef> lower_token_terminal(Store& store, std::string_view spelled, std::string at);

// `[key, key=value, ...]`: the length of the block that `text` begins with, 0 if it begins with
// none. Values are quoted texts, regular expressions, token terminals or words.
size_t rule_options_size(std::string_view text);
// The body of a rule under these options. Unknown names are `syntax`, known ones `unsupported` for
// now; an empty block leaves the body alone.
Result<NodeRef> lower_rule_options(Store& store, NodeRef body, std::string_view spelled,
                                   std::string at);

}  // namespace treadle
