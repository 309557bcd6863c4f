// Statements of a Lark grammar: heads of rules, and directives.
#include <array>

#include "grammar/front/json_read.h"
#include "grammar/front/lark_parse.h"

namespace treadle::lark {
namespace {

// Upper case after any underscores: a terminal.
bool names_terminal(std::string_view name) {
  size_t at = name.find_first_not_of('_');
  return at != std::string_view::npos && name[at] >= 'A' && name[at] <= 'Z';
}

}  // namespace

uint32_t Parser::symbol(const Token& name) {
  auto next = static_cast<uint32_t>(grammar_.symbols.size());
  auto [entry, fresh] = grammar_.modules[module_].symbols.try_emplace(name.text, next);
  if (fresh) {
    Symbol made;
    made.name = name.text;
    made.module = module_;
    made.terminal = names_terminal(name.text);
    made.line = name.line;
    made.column = name.column;
    grammar_.symbols.push_back(std::move(made));
  }
  return entry->second;
}

bool Parser::define(uint32_t index, const Token& at) {
  Symbol& symbol = grammar_.symbols[index];
  if (symbol.defined) {
    return lexer_.fail_at(Reason::syntax,
                          symbol.name + " is already defined at " +
                              place(symbol.line, symbol.column) + "; join the two with |",
                          at);
  }
  symbol.defined = true;
  symbol.line = at.line;
  symbol.column = at.column;
  return true;
}

bool Parser::statement() {
  if (!token_.first && !fresh_) {
    return error(Reason::syntax, "unexpected here; begin a new line for every rule");
  }
  fresh_ = false;
  if (token_.kind == Tok::directive) return directive();
  while (token_.is('?') || token_.is('!')) {  // they shape lark's trees, not the language
    if (!advance()) return false;
  }
  if (token_.kind == Tok::name) return head();
  return error(Reason::syntax, "a rule begins with name: and a directive with %; write it so");
}

bool Parser::head() {
  Token name = token_;
  uint32_t index = symbol(name);
  if (!define(index, name)) return false;
  Token options;
  if (lexer_.options(options)) {
    grammar_.symbols[index].options = options.text;
    grammar_.symbols[index].options_column = options.column;
  }
  if (!lexer_.status.ok() || !advance()) return false;
  if (token_.kind == Tok::params) {
    if (!advance()) return false;
    bool good = token_.kind == Tok::name && token_.text == "_";
    if (!good) return error(Reason::syntax, "a rule with a parameter is defined as name::_");
    if (grammar_.symbols[index].terminal) {
      return error(Reason::syntax, "a terminal takes no parameter; give it a lower-case name");
    }
    grammar_.symbols[index].parametric = true;
    if (!advance()) return false;
  }
  if (token_.is('{')) {
    return error(Reason::unsupported, "templates are not supported; write the rule out");
  }
  if (token_.is('.')) {  // a priority chooses between readings, not texts
    if (!advance()) return false;
    if (token_.kind != Tok::number) return error(Reason::syntax, "a priority is a number");
    if (!advance()) return false;
  }
  if (!token_.is(':')) {
    return error(Reason::syntax, "a rule is written " + name.text + ": expression");
  }
  auto body = static_cast<uint32_t>(grammar_.bodies.size());
  grammar_.bodies.emplace_back();
  grammar_.symbols[index].body = body;
  return open(Scope::rule, body) && advance();
}

bool Parser::directive() {
  const std::string name = token_.text;
  if (name == "import") return import();
  if (name == "llguidance" || name == "grammar_options") return options();
  if (name == "ignore") {
    auto body = static_cast<uint32_t>(grammar_.bodies.size());
    grammar_.bodies.emplace_back();
    grammar_.modules[module_].ignores.push_back(body);
    return open(Scope::rule, body) && advance();
  }
  constexpr std::array<std::string_view, 3> kRefused = {"declare", "extend", "override"};
  for (std::string_view refused : kRefused) {
    if (name == refused) {
      return error(Reason::unsupported, "%" + name + " is not supported; write the rule out");
    }
  }
  return error(Reason::syntax, "%" + name + " is no directive of a grammar");
}

// %import common.NAME, %import common.NAME -> OTHER, %import common (NAME, NAME).
bool Parser::import() {
  if (!advance()) return false;
  if (token_.kind != Tok::name || token_.text != "common") {
    return error(Reason::unsupported,
                 "only %import common.NAME is supported; write other definitions out");
  }
  Token from = token_;
  if (!advance()) return false;
  if (token_.is('.')) {
    if (!advance()) return false;
    Token name = token_;
    if (name.kind != Tok::name) return error(Reason::syntax, "%import needs common.NAME");
    if (!advance()) return false;
    Token alias = name;
    if (token_.kind == Tok::arrow) {
      if (!advance()) return false;
      alias = token_;
      if (alias.kind != Tok::name) return error(Reason::syntax, "-> needs a name");
      if (!advance()) return false;
    }
    return import_as(name.text, alias.text, alias);
  }
  if (!expect('(', "or . after common")) return false;
  while (true) {
    Token name = token_;
    if (name.kind != Tok::name) return error(Reason::syntax, "%import needs names");
    if (!import_as(name.text, name.text, name) || !advance()) return false;
    if (token_.is(')')) return advance();
    if (!expect(',', "between names")) return false;
  }
}

bool Parser::import_as(const std::string& from, const std::string& name, const Token& at) {
  uint32_t common = sources_.common();
  Token as = at;
  as.text = name;
  uint32_t index = symbol(as);
  if (!define(index, at)) return false;
  if (!grammar_.symbols[index].terminal) {
    return lexer_.fail_at(Reason::syntax, "an imported terminal needs an upper-case name", at);
  }
  // A reference inside the module of common terminals, whether it has been read yet or not.
  uint32_t outer = module_;
  module_ = common;
  as.text = from;
  uint32_t target = symbol(as);
  module_ = outer;
  grammar_.symbols[index].target = target;
  return true;
}

// Options merge; each may be given more than once.
bool Parser::options() {
  Token at = token_;
  json::ReadLimits limits{.bytes = limits_.source_bytes, .depth = limits_.source_depth};
  Result<json::Document> read = json::read(at.flags, limits);
  if (!read.ok()) {
    return lexer_.fail_at(Reason::syntax, "%" + at.text + ": " + read.status().text, at);
  }
  Module& module = grammar_.modules[module_];
  for (json::Value value : read->root()) {
    std::string key(value.key());
    bool on = value.is_boolean() && value.truth();
    bool off = value.is_boolean() && !value.truth();
    if (key == "skip_repetition" && value.is_string()) {
      on = value.text() == "once";
      off = value.text() == "repeat";
    }
    if (!on && !off) {
      return lexer_.fail_at(Reason::unsupported, "option " + key + " has no such value", at);
    }
    if (key == "allow_initial_skip") {
      module.skip_first = on;
    } else if (key == "ignore_once" || key == "skip_repetition") {
      module.skip_once = on;
    } else if (key != "no_forcing" && !(key == "allow_invalid_utf8" && off)) {
      return lexer_.fail_at(Reason::unsupported, "option " + key + " is not supported; remove it",
                            at);
    }
  }
  return advance();
}

}  // namespace treadle::lark
