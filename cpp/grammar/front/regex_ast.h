// The syntax tree of a pattern: one flat array in which children precede their parents, so that
// every pass is a loop and the nesting of the pattern never becomes nesting of calls. Equal parts
// are one node, so that a pattern which repeats itself is lowered once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/ir/charset.h"
#include "support/flat_map.h"

namespace treadle::regex {

using Id = uint32_t;

enum class Kind : uint8_t {
  eps,      // the empty text
  never,    // no text
  text,     // any text
  literal,  // UTF-8 bytes [a, a + b) of the arena's text
  chars,    // one code point of set a
  concat,   // children [a, a + b) of the arena's list, in order
  any_of,   // one of the children [a, a + b)
  repeat,   // child a, lo to hi times
  begin,    // ^   a = 1: also after a line end
  end,      // $   a = 1: also before a line end
  border,   // \b  a = 1: \B
  look,     // child a, see the flags
  both,     // texts of a that are texts of b
  minus,    // texts of a that are not texts of b
};

struct Node {
  Kind kind = Kind::eps;
  bool behind = false;    // look: lookbehind
  bool negative = false;  // look: must not match
  // What occurs at or below this node.
  bool has_ahead = false;
  bool has_behind = false;
  bool has_anchor = false;  // begin, end or border: the language depends on the surroundings
  uint32_t a = 0, b = 0, lo = 0, hi = 0;
  uint32_t offset = 0;  // code points before it, or before the first part equal to it
};

class Ast {
 public:
  // The node, or one that was added before and is equal. Parts that errors may name by their
  // place (lookaround, anchors) stay apart.
  Id add(Node node);
  Id eps(uint32_t offset) { return add({.kind = Kind::eps, .offset = offset}); }
  Id any_text() { return add({.kind = Kind::text}); }
  Id literal(std::string_view utf8, uint32_t offset);
  Id chars(const CharSet& set, uint32_t offset);
  Id list(Kind kind, std::span<const Id> children, uint32_t offset);  // one child: that child

  [[nodiscard]] const Node& at(Id id) const { return nodes_[id]; }
  [[nodiscard]] size_t size() const { return nodes_.size(); }
  [[nodiscard]] std::span<const Id> children(const Node& n) const {
    return std::span(lists_).subspan(n.a, n.b);
  }
  [[nodiscard]] std::string_view text(const Node& n) const {
    return std::string_view(text_).substr(n.a, n.b);
  }
  [[nodiscard]] const CharSet& set(uint32_t index) const { return sets_[index]; }
  [[nodiscard]] size_t set_count() const { return sets_.size(); }

 private:
  [[nodiscard]] uint64_t hash_of(const Node& node) const;
  [[nodiscard]] bool equal(const Node& a, const Node& b) const;

  std::vector<Node> nodes_;
  FlatMap known_;  // hash -> the first node that has it
  std::vector<Id> lists_;
  std::string text_;
  std::vector<CharSet> sets_;
  std::unordered_map<uint64_t, std::vector<uint32_t>> set_index_;
};

}  // namespace treadle::regex
