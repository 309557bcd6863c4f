// The macros of EBNF: Regex, Substring, TagDispatch, the token macros, and Bytes, in which printed
// grammars spell what is no text. Source: XGrammar's EBNF; Bytes is ours.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "grammar/front/ebnf_lex.h"
#include "grammar/ir/store.h"
#include "grammar/run/limits.h"

namespace treadle::ebnf {

// One argument: a text, a word (a rule, a number, true or false), or a list of arguments.
struct Argument {
  Token at;          // its first token
  std::string name;  // before the equals sign, if there is one
  bool is_list = false;
  std::vector<Argument> items;

  [[nodiscard]] bool is_text() const { return !is_list && at.kind == Tok::literal; }
  [[nodiscard]] bool is_word() const { return !is_list && at.kind == Tok::name; }
};

// Reads the arguments of the macro whose name and bracket `macro` is, and lowers it. `rule` gives
// the reference to the rule that a word names. False: the lexer's status is set.
bool read_macro(Lexer& lexer, const Token& macro, Store& store, const Limits& limits,
                const std::function<NodeRef(const Token&)>& rule, NodeRef& out);

}  // namespace treadle::ebnf
