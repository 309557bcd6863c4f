// The 64-bit parameter of a rule: how a reference computes it and what an alternative asks of it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "grammar/front/lark_lex.h"

namespace treadle::lark {

enum class ParamOp : uint8_t {
  // values
  self,
  constant,
  conjoin,  // p & value
  unite,    // p | value
  grow,     // saturating step within bits [lo, hi)
  shrink,
  // conditions
  truth,
  less,  // bits [lo, hi), or with `count` how many of them are set, against `value`
  equal,
  more,
  both,  // of the two conditions before it
  either,
  deny,
};

struct ParamStep {
  ParamOp op = ParamOp::self;
  bool count = false;
  uint8_t lo = 0;
  uint8_t hi = 64;
  uint64_t value = 0;
};
using ParamCode = std::vector<ParamStep>;  // postfix

uint64_t param_value(const ParamCode& code, uint64_t p);
bool param_holds(const ParamCode& code, uint64_t p);

// Read from `token` on, and leave the first token behind in it. False: the lexer's status is set.
// Source: the function reference of llguidance, docs/parametric.md.
bool read_param_value(Lexer& lexer, Token& token, ParamCode& code);
bool read_param_condition(Lexer& lexer, Token& token, ParamCode& code);

}  // namespace treadle::lark
