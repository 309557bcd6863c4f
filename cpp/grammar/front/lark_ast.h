// The syntax trees of Lark grammars. A body is one flat array in which children precede their
// parents, so that lowering is a loop.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/front/lark_param.h"

namespace treadle::lark {

using Id = uint32_t;
inline constexpr uint32_t kNone = UINT32_MAX;

enum class Op : uint8_t {
  text,       // [a, a + b) of the grammar's text; `flag`: in any case
  range,      // one code point from lo to hi
  regex,      // pattern [a, a + b), flags [lo, lo + hi)
  name,       // symbol a; `code`: the value of its parameter
  json,       // schema [a, a + b)
  substring,  // description [a, a + b) of %regex
  module,     // the start of module a
  token,      // token terminal [a, a + b)
  sequence,   // children [a, a + b) of the body's list
  choice,
  both,
  invert,  // child a
  repeat,  // child a, lo to hi times
  guard,   // child a where `code` holds
};

struct Node {
  Op op = Op::sequence;
  bool flag = false;
  uint32_t a = 0, b = 0, lo = 0, hi = 0;
  uint32_t code = kNone;
  uint32_t line = 1, column = 1;
};

struct Body {
  std::vector<Node> nodes;  // the last one is the root
  std::vector<Id> lists;
};

struct Symbol {
  std::string name;
  uint32_t module = 0;
  bool terminal = false;
  bool defined = false;
  bool parametric = false;
  uint32_t body = kNone;
  uint32_t target = kNone;  // the symbol that an import stands for
  uint32_t line = 1, column = 1;
  std::string options;  // as written, "" without
  uint32_t options_column = 1;
};

// One scope of names: the grammar itself, a %lark block, a named grammar, the common terminals.
struct Module {
  std::string label;  // before every place in its errors
  std::string start = "start";
  std::unordered_map<std::string, uint32_t> symbols;
  std::vector<uint32_t> ignores;  // bodies
  uint32_t line = 1, column = 1;  // where it begins in its source
  bool library = false;           // needs no start
  bool skip_first = false;        // ignored texts may come before everything
  bool skip_once = false;         // at one place at most one of them
};

struct Grammar {
  std::string text;
  std::deque<Body> bodies;
  std::vector<Symbol> symbols;
  std::deque<Module> modules;
  std::vector<ParamCode> codes;

  [[nodiscard]] std::string_view span(uint32_t a, uint32_t b) const {
    return std::string_view(text).substr(a, b);
  }
};

}  // namespace treadle::lark
