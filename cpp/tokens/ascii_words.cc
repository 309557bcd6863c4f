#include "tokens/ascii_words.h"

namespace treadle {

namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool is_break(char c) {
  return c == '\r' || c == '\n';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

bool is_letter(char c) {
  const char small = lower(c);
  return small >= 'a' && small <= 'z';
}

bool is_mark(char c) {
  return !is_space(c) && !is_digit(c) && !is_letter(c);
}

template <class Is>
size_t run(std::string_view text, size_t at, Is is) {
  while (at < text.size() && is(text[at])) ++at;
  return at;
}

// 's 't 'm 'd 're 've 'll; `at` itself if there is none.
size_t contraction(std::string_view text, size_t at, bool any_case) {
  if (text[at] != '\'' || at + 1 == text.size()) return at;
  const auto letter = [&](size_t i) { return any_case ? lower(text[i]) : text[i]; };
  const char first = letter(at + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if (at + 2 == text.size()) return at;
  const char second = letter(at + 2);
  const bool two = (first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
                   (first == 'l' && second == 'l');
  return two ? at + 3 : at;
}

// \s+(?!\S)|\s+ : a run of spaces gives its last one to the word behind it.
size_t spaces(std::string_view text, size_t at, bool digits_apart) {
  const size_t end = run(text, at, is_space);
  const bool alone = end == text.size() || (digits_apart && is_digit(text[end]));
  return alone || end == at + 1 ? end : end - 1;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+, for smollm in what
// lies between single digits.
size_t gpt2_end(std::string_view text, size_t at, bool digits_apart) {
  if (digits_apart && is_digit(text[at])) return at + 1;
  if (const size_t end = contraction(text, at, false); end != at) return end;
  const size_t from = text[at] == ' ' ? at + 1 : at;
  if (from < text.size()) {
    if (is_letter(text[from])) return run(text, from, is_letter);
    if (is_digit(text[from]) && !digits_apart) return run(text, from, is_digit);
    if (is_mark(text[from])) return run(text, from, is_mark);
  }
  return spaces(text, at, digits_apart);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+
// |\s+(?!\S)|\s+
size_t qwen2_end(std::string_view text, size_t at) {
  if (const size_t end = contraction(text, at, true); end != at) return end;
  const char c = text[at];
  if (is_letter(c)) return run(text, at, is_letter);
  if (!is_break(c) && !is_digit(c) && at + 1 < text.size() && is_letter(text[at + 1])) {
    return run(text, at + 1, is_letter);
  }
  if (is_digit(c)) return at + 1;
  const size_t from = c == ' ' ? at + 1 : at;
  if (from < text.size() && is_mark(text[from])) {
    return run(text, run(text, from, is_mark), is_break);
  }
  const size_t end = run(text, at, is_space);
  for (size_t last = end; last > at; --last) {  // up to the last break of the run
    if (is_break(text[last - 1])) return last;
  }
  return spaces(text, at, false);
}

}  // namespace

std::optional<AsciiCut> ascii_cut(std::string_view name) {
  if (name == "gpt-2") return AsciiCut::gpt2;
  if (name == "smollm") return AsciiCut::smollm;
  if (name == "qwen2") return AsciiCut::qwen2;
  return std::nullopt;
}

size_t ascii_word_end(AsciiCut cut, std::string_view text, size_t at) {
  switch (cut) {
    case AsciiCut::gpt2:
      return gpt2_end(text, at, false);
    case AsciiCut::smollm:
      return gpt2_end(text, at, true);
    case AsciiCut::qwen2:
      return qwen2_end(text, at);
  }
  return text.size();
}

}  // namespace treadle
