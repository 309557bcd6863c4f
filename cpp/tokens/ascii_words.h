// Where the patterns of byte-level vocabularies cut ASCII text into the words that merges work on.
// Text with other characters is left to a library that knows Unicode's classes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace treadle {

// By the name that a GGUF file gives (`tokenizer.ggml.pre`); patterns in text/pretokenisers.toml.
enum class AsciiCut : uint8_t { gpt2, smollm, qwen2 };

std::optional<AsciiCut> ascii_cut(std::string_view name);

// The end of the word that begins at `at` < text.size(); text holds bytes below 128 only.
size_t ascii_word_end(AsciiCut cut, std::string_view text, size_t at);

}  // namespace treadle
