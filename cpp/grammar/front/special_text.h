// Texts of an author that spell special tokens: a template's <tool_call> is one token for some
// vocabularies and letters for others.
#pragma once

#include <string_view>
#include <vector>

#include "grammar/front/choice.h"

namespace treadle {

// The text, by its letters or with special tokens where it spells them.
NodeRef literal(Store& store, std::string_view text);

// The union of text·tail over the entries, by those spellings that hold a special token; empty()
// when the vocabulary has none of them. trie() has the spelling by letters alone.
NodeRef by_tokens(Store& store, const std::vector<ChoiceEntry>& entries);

}  // namespace treadle
