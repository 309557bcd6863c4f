// Strings as GGUF files hold them: for each a length of eight bytes, then UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace treadle {

// Where `count` strings that begin at data[at] end. Nothing if one of them is longer than `most`,
// not UTF-8, or not wholly in `data`.
std::optional<size_t> packed_strings_end(std::string_view data, size_t at, size_t count,
                                         size_t most);

}  // namespace treadle
