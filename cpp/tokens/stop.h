// Search for stop strings in text that arrives in pieces.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace treadle {

// The automaton of Aho and Corasick (CACM 18, 1975) over the bytes of a set of stop strings.
// Built once a request; O(total bytes) to build, amortised O(1) a byte of text to run.
class StopStrings {
 public:
  // None of the strings may be empty: an empty one would stop every text before it begins.
  explicit StopStrings(std::span<const std::string> stops);

  [[nodiscard]] uint32_t next(uint32_t state, uint8_t byte) const;
  // Length of the longest text suffix that begins a stop string.
  [[nodiscard]] uint32_t depth(uint32_t state) const { return states_[state].depth; }
  // Index of the longest stop string that ends here, or -1.
  [[nodiscard]] int32_t hit(uint32_t state) const { return states_[state].hit; }
  [[nodiscard]] const std::string& text(int32_t index) const {
    return stops_[static_cast<size_t>(index)];
  }

 private:
  struct State {
    uint32_t child = 0;    // first child, 0 = none (the root is nobody's child)
    uint32_t sibling = 0;  // next child of the same parent
    uint32_t fail = 0;
    uint32_t depth = 0;
    int32_t hit = -1;
    uint8_t byte = 0;
  };
  [[nodiscard]] uint32_t child(uint32_t state, uint8_t byte) const;
  void insert(size_t index);
  void link();

  std::vector<std::string> stops_;
  std::vector<State> states_;
  std::array<uint32_t, 256> root_{};
};

// The search over one sequence's text. Copying it forks the sequence.
//
// Text is held back only while its end may be the beginning of a stop string, so what has been
// emitted never contains any part of the stop string that is found later. The stop string that
// is complete first ends the text; of several that end there, the longest is the one reported.
class StopSearch {
 public:
  explicit StopSearch(std::shared_ptr<const StopStrings> stops) : stops_(std::move(stops)) {}

  // Appends to `out` the text that can be emitted; returns the stop string once it is complete.
  // After that, further text is ignored until `flush`.
  std::optional<std::string_view> push(std::string_view text, std::string& out);
  // Ends the text: what was held back is emitted (nothing after a hit). Ready for another text.
  void flush(std::string& out);
  [[nodiscard]] bool stopped() const { return stopped_; }

 private:
  std::shared_ptr<const StopStrings> stops_;
  std::string held_;
  uint32_t state_ = 0;
  bool stopped_ = false;
};

}  // namespace treadle
