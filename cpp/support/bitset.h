// A set of bytes in four words.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace treadle {

class ByteSet {
 public:
  constexpr ByteSet() = default;
  static constexpr ByteSet of(uint8_t byte) {
    ByteSet set;
    set.insert(byte);
    return set;
  }
  static constexpr ByteSet range(uint8_t lo, uint8_t hi) {  // both ends included
    ByteSet set;
    for (unsigned byte = lo; byte <= hi; ++byte) set.insert(static_cast<uint8_t>(byte));
    return set;
  }
  static constexpr ByteSet all() { return ~ByteSet(); }

  constexpr void insert(uint8_t byte) { words_[byte >> 6] |= uint64_t{1} << (byte & 63); }
  constexpr void erase(uint8_t byte) { words_[byte >> 6] &= ~(uint64_t{1} << (byte & 63)); }
  constexpr bool contains(uint8_t byte) const { return (words_[byte >> 6] >> (byte & 63)) & 1; }
  constexpr bool empty() const { return !(words_[0] | words_[1] | words_[2] | words_[3]); }
  constexpr unsigned count() const {
    unsigned total = 0;
    for (uint64_t word : words_) total += static_cast<unsigned>(std::popcount(word));
    return total;
  }
  constexpr unsigned rank(uint8_t byte) const {  // members below `byte`
    unsigned total = 0;
    for (unsigned i = 0; i < byte >> 6; ++i) {
      total += static_cast<unsigned>(std::popcount(words_[i]));
    }
    uint64_t below = (uint64_t{1} << (byte & 63)) - 1;
    return total + static_cast<unsigned>(std::popcount(words_[byte >> 6] & below));
  }
  constexpr unsigned lowest() const {  // 256 when empty
    for (unsigned i = 0; i < 4; ++i) {
      if (words_[i]) return i * 64 + static_cast<unsigned>(std::countr_zero(words_[i]));
    }
    return 256;
  }
  constexpr const std::array<uint64_t, 4>& words() const { return words_; }

  constexpr ByteSet& operator|=(const ByteSet& other) {
    for (size_t i = 0; i < 4; ++i) words_[i] |= other.words_[i];
    return *this;
  }
  constexpr ByteSet& operator&=(const ByteSet& other) {
    for (size_t i = 0; i < 4; ++i) words_[i] &= other.words_[i];
    return *this;
  }
  friend constexpr ByteSet operator|(ByteSet a, const ByteSet& b) { return a |= b; }
  friend constexpr ByteSet operator&(ByteSet a, const ByteSet& b) { return a &= b; }
  friend constexpr ByteSet operator~(ByteSet a) {
    for (uint64_t& word : a.words_) word = ~word;
    return a;
  }
  friend constexpr bool operator==(const ByteSet&, const ByteSet&) = default;

  template <class Visit>
  constexpr void each(Visit visit) const {  // in ascending order
    for (unsigned i = 0; i < 4; ++i) {
      for (uint64_t word = words_[i]; word; word &= word - 1) {
        visit(static_cast<uint8_t>(i * 64 + static_cast<unsigned>(std::countr_zero(word))));
      }
    }
  }

 private:
  std::array<uint64_t, 4> words_{};
};

}  // namespace treadle
