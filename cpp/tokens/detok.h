// Token ids to text, piece by piece: what is emitted is always whole characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "support/offsets.h"
#include "support/result.h"

namespace treadle {

// Incremental UTF-8 repair. Complete characters pass through, the bytes of an unfinished one are
// held back, and every maximal invalid run becomes one U+FFFD (Unicode 15, section 3.9, table 3-8;
// the same answer as Python's bytes.decode("utf-8", errors="replace") over the whole input).
class Utf8Stream {
 public:
  void push(std::string_view bytes, std::string& out);
  // Ends the text: an unfinished character becomes one U+FFFD. The stream is then as new.
  void flush(std::string& out);
  [[nodiscard]] size_t held() const { return held_; }  // bytes held back, at most 3

 private:
  void push_byte(uint8_t byte, std::string& out);
  void drop(std::string& out);

  uint8_t bytes_[4] = {};
  uint8_t held_ = 0;    // bytes of the unfinished character
  uint8_t length_ = 0;  // bytes that its first byte announces
};

// The bytes of every token id in one block, which copies share: of all sequences of a model.
class TokenBytes {
 public:
  // `ends`: where the bytes of each id end in `text`, ascending to its size.
  static Result<TokenBytes> make(std::string_view text, std::span<const uint32_t> ends);
  void reserve(size_t tokens, size_t bytes);
  void add(std::string_view bytes);  // before there is a copy
  [[nodiscard]] size_t size() const { return block_->ends.size(); }
  // Ids beyond the table are unused: a model's V may exceed the tokeniser's. They spell nothing.
  [[nodiscard]] std::string_view at(uint32_t id) const;
  // The same table, in which `ids` spell nothing either.
  [[nodiscard]] TokenBytes without(std::vector<uint32_t> ids) const;

 private:
  struct Block {
    std::string text;
    Offsets ends;
  };

  std::shared_ptr<Block> block_ = std::make_shared<Block>();
  std::vector<uint32_t> silent_;  // ascending
};

// The text of one sequence. Copying it forks the sequence; the table stays shared.
class Detokeniser {
 public:
  // strip_space: SentencePiece decoders drop one space at the very start of a text.
  explicit Detokeniser(std::shared_ptr<const TokenBytes> table, bool strip_space = false)
      : table_(std::move(table)), strip_space_(strip_space), at_start_(strip_space) {}

  // Appends the text that these tokens complete.
  void push(std::span<const uint32_t> ids, std::string& out);
  void push_bytes(std::string_view bytes, std::string& out);
  // Ends the text and makes the detokeniser ready for another.
  void flush(std::string& out);

 private:
  std::shared_ptr<const TokenBytes> table_;
  Utf8Stream stream_;
  bool strip_space_;
  bool at_start_;
};

}  // namespace treadle
