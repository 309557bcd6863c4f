// Lark text to trees. The parser is one loop over an explicit stack: scopes (%lark blocks), bodies
// of rules, groups.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/front/lark.h"
#include "grammar/front/lark_ast.h"
#include "grammar/front/lark_lex.h"

namespace treadle::lark {

// Definitions, in Lark, of the terminals that `%import common` offers.
std::string_view common_terminals();

// Every grammar that is parsed, by name: the first module is the main one.
class Sources {
 public:
  Sources(Grammar& grammar, const LarkOptions& options) : grammar(grammar), options_(options) {}

  // The module of @name, or of the common terminals; kNone if there is none.
  uint32_t named(const std::string& name);
  uint32_t common();
  // The next source that no parser has read, with its module. False: all are read.
  bool next(std::string_view& text, uint32_t& module);

  Grammar& grammar;

 private:
  uint32_t add(std::string label, std::string_view text);

  const LarkOptions& options_;
  std::vector<std::pair<std::string_view, uint32_t>> unread_;
  std::unordered_map<std::string, uint32_t> known_;
};

class Parser {
 public:
  Parser(Sources& sources, std::string_view text, uint32_t module, const Limits& limits, Fuel& fuel)
      : sources_(sources),
        grammar_(sources.grammar),
        limits_(limits),
        lexer_(text, fuel),
        module_(module) {}

  Status run();

 private:
  enum class Scope : uint8_t { module, rule, group, maybe };
  struct Frame {
    Scope scope = Scope::module;
    Token open;
    uint32_t outer = 0;     // module: the one around it
    uint32_t body = kNone;  // in which its nodes go
    size_t items = 0, terms = 0, branches = 0;
    bool inverted = false;
    bool wants_item = false;  // after & and |, or a ~ before an item
    uint32_t guard = kNone;
  };

  bool loop();
  bool advance() { return lexer_.next(token_); }
  bool error(Reason reason, std::string text) {
    return lexer_.fail_at(reason, std::move(text), token_);
  }
  bool open(Scope scope, uint32_t body);
  bool close_module();
  bool expect(char mark, const char* where);

  // Statements (lark_items.cc).
  bool statement();
  bool head();
  bool directive();
  bool import();
  bool import_as(const std::string& from, const std::string& name, const Token& at);
  bool options();
  uint32_t symbol(const Token& name);
  bool define(uint32_t index, const Token& at);

  // Expressions.
  bool step();
  bool finish_body();
  bool atom();
  bool text();
  bool name();
  bool block();
  bool push(Node node);
  bool push_id(Id id);
  bool postfix();
  bool bounds(uint32_t& lo, uint32_t& hi);
  bool count(uint32_t& value);
  bool repeat(uint32_t lo, uint32_t hi);
  bool close_group();
  bool bar();
  bool guard();
  void finish_term();
  void finish_branch();
  Id finish_choice();
  Id add(Node node);
  Id list(Op op, std::vector<Id>& stack, size_t from);
  Node node(Op op, const Token& at);
  Node spelled(Op op, const Token& at, std::string_view spelled);
  Body& body() { return grammar_.bodies[frames_.back().body]; }

  Sources& sources_;
  Grammar& grammar_;
  const Limits& limits_;
  Lexer lexer_;
  Token token_;
  uint32_t module_;
  bool fresh_ = true;  // no statement has been read in this module
  bool invert_ = false;
  std::vector<Frame> frames_;
  std::vector<Id> items_, terms_, branches_;
};

}  // namespace treadle::lark
