// A mask in the making.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace treadle {

// One bit a token, and one a cache line of them that may have been set: most masks are a few tokens
// out of a hundred thousand, and then nothing here costs a pass over all.
class MaskBits {
 public:
  // Tokens 0 to `tokens`, the last of them for trie nodes without one.
  explicit MaskBits(uint32_t tokens) : tokens_(tokens) {}

  // Makes it empty; has to be called before anything is added.
  void reset();
  void set(uint32_t token) {
    words_[token >> 5] |= uint32_t{1} << (token & 31);
    dirty_[token / (kLine * 64)] |= uint64_t{1} << (token / kLine & 63);
  }
  void erase(uint32_t token) { words_[token >> 5] &= ~(uint32_t{1} << (token & 31)); }
  bool has(uint32_t token) const { return words_[token >> 5] >> (token & 31) & 1; }
  // Adds a row of words.
  void add(std::span<const uint32_t> row);
  // The words, for those who touch most of them; see words().
  uint32_t* open();

  // To be called when all is in it: where many lines were touched, one pass over all is faster.
  void settle();
  uint32_t count() const;
  // Of the tokens alone, whatever lines were touched.
  uint64_t hash() const;
  void copy_to(std::span<uint32_t> row) const;
  // All words; those past the last token are clear.
  std::span<const uint32_t> words() const { return words_; }
  // Calls visit(token) in order.
  template <typename Visit>
  void each(Visit visit) const {
    each_line([&](size_t line) {
      if (empty_line(line)) return;
      for (size_t i = line * kLineWords; i < (line + 1) * kLineWords; ++i) {
        for (uint32_t word = words_[i]; word; word &= word - 1) {
          visit(static_cast<uint32_t>(i * 32) + static_cast<uint32_t>(std::countr_zero(word)));
        }
      }
    });
  }

 private:
  static constexpr uint32_t kLine = 512;  // tokens
  static constexpr size_t kLineWords = kLine / 32;
  static constexpr size_t kScattered = 6;  // a line by itself costs what so many in a row do

  bool empty_line(size_t line) const {
    uint32_t any = 0;
    for (size_t i = line * kLineWords; i < (line + 1) * kLineWords; ++i) any |= words_[i];
    return any == 0;
  }

  template <typename Visit>
  void each_line(Visit visit) const {
    if (full_) {
      for (size_t line = 0; line < words_.size() / kLineWords; ++line) visit(line);
      return;
    }
    for (size_t i = 0; i < dirty_.size(); ++i) {
      for (uint64_t word = dirty_[i]; word; word &= word - 1) {
        visit(i * 64 + static_cast<size_t>(std::countr_zero(word)));
      }
    }
  }

  uint32_t tokens_;
  std::vector<uint32_t> words_;  // a whole number of lines
  std::vector<uint64_t> dirty_;  // one bit a line
  bool full_ = false;            // any line may have been touched
};

}  // namespace treadle
