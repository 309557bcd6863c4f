// Token terminals and rule options of EBNF and Lark: what speaks of whole tokens or of one run of a
// rule, not of bytes. Both dialects spell them here; options go on to rule_options.h.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "grammar/ir/store.h"
#include "support/result.h"

namespace treadle {

// `<name>`, `<[1,3-8]>`, `<[^1]>`, `<[*]>`, `!<...>`: the length of the one that `text` begins
// with, 0 if it begins with none.
size_t token_terminal_size(std::string_view text);
// One of the tokens that it stands for: the one of that name (marks included), those with the ids,
// or with ^ or ! any but those. `syntax` if malformed.
Result<NodeRef> lower_token_terminal(Store& store, std::string_view spelled, std::string at);

// `[key, key=value, ...]`: the length of the block that `text` begins with, 0 if it begins with
// none. Values are quoted texts, regular expressions, token terminals or words.
size_t rule_options_size(std::string_view text);
// Calls `option` with each name and value ("" without one) of a block; the block's length, 0 if it
// is none.
size_t each_rule_option(std::string_view text,
                        const std::function<void(std::string_view, std::string_view)>& option);
// The text between the quotes of `spelled`, with its escapes; false if it is no quoted text.
bool read_quoted(std::string_view spelled, std::string& out);
// Whether there is an option of this name, in any engine.
bool is_rule_option(std::string_view name);

}  // namespace treadle
