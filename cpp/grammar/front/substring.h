// Runs of consecutive pieces of a text.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "grammar/ir/store.h"

namespace treadle {

// The texts chunks[i] + ... + chunks[j - 1] for all i <= j, the empty text among them. Nodes: at
// most two for each chunk (a suffix automaton; Blumer et al. 1985), whatever repeats.
NodeRef substring(Store& store, std::span<const std::string_view> chunks);

// Valid UTF-8 in characters; in maximal runs of word characters, of blanks, of other characters.
std::vector<std::string_view> split_chars(std::string_view text);
std::vector<std::string_view> split_words(std::string_view text);

}  // namespace treadle
