// Nodes of the one grammar IR: immutable, interned, named by a 32-bit index into their Store.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace treadle {

using NodeRef = uint32_t;
using RuleId = uint32_t;
inline constexpr uint32_t kOpen = UINT32_MAX;  // a repetition without an upper bound

// `language` in the comments: the set of byte strings that the node matches.
enum class Kind : uint8_t {
  empty,   // no string at all
  eps,     // the empty string
  bytes,   // one literal: a = offset into the store's text, b = length (1 to kLiteral)
  set,     // one byte out of a ByteSet: a = index of the set
  concat,  // a then b; right-nested: a is never a concat
  any_of,  // union: children [a, a + b) of the store's list, sorted, no any_of inside
  both,    // intersection of regular children [a, a + b), sorted, no both inside
  invert,  // complement over byte strings of the regular node a
  repeat,  // a, at least lo and at most hi times (kOpen: no bound)
  ref,     // rule a, whose body may refer to any rule
  leaf,    // typed regular node: a = index of the Typed
  rule,    // typed rule, expanded when first reached: a = index of the Typed
  token,   // one whole token of the vocabulary: a = index of a TokenSet
};

inline constexpr uint32_t kLiteral = 64;  // longest literal of one node; longer ones are chained

// Which tokens a token node takes. Names are token texts; the vocabulary resolves them, and a stop
// token is never among them.
struct TokenSet {
  std::vector<uint32_t> ids;       // sorted, once each
  std::vector<std::string> names;  // likewise
  bool negated = false;            // every token but these
  bool operator==(const TokenSet&) const = default;
};

// What is known about a node the moment it is made.
struct Facts {
  bool regular : 1;   // no ref and no typed rule below: derive() works
  bool nullable : 1;  // regular nodes: matches the empty string (others: Store::nullable)
  bool plain : 1;     // language certainly not empty: no both, invert, ref or doubtful rule below
};

struct Node {
  Kind kind;
  Facts facts;
  uint8_t live;  // 0 not asked yet, 1 no string, 2 some string
  uint32_t a, b, lo, hi;
};

}  // namespace treadle
