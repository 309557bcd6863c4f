#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/front/choice.h"
#include "grammar/front/ebnf.h"
#include "grammar/front/ebnf_lex.h"
#include "grammar/front/fuel_scope.h"
#include "grammar/front/macros.h"
#include "grammar/front/rule_options.h"
#include "grammar/front/special.h"

namespace treadle::ebnf {
namespace {

struct Rule {
  RuleId id = 0;
  bool defined = false;
  uint32_t line = 0;  // of the definition, or of the first use
  uint32_t column = 0;
};

// A piece of a branch. A branch that is one literal stays text, so that alternatives of literals
// become a trie.
struct Item {
  NodeRef node = 0;
  bool is_text = false;
  std::string text;
};

// One open group; the bottom frame is the body of the rule.
struct Frame {
  Token open;
  size_t items;
  size_t branches;
};

class Parser {
 public:
  Parser(Store& store, std::string_view text, const Limits& limits, Fuel& fuel, RuleMarks* marks)
      : store_(store), limits_(limits), fuel_(fuel), marks_(marks), lexer_(text, fuel) {}

  Result<NodeRef> run(std::string_view root) {
    if (!rules()) return lexer_.status;
    for (const std::string& name : order_) {
      const Rule& rule = rules_.at(name);
      if (rule.defined) continue;
      return syntax_error(place(rule.line, rule.column),
                          "rule " + name + " is not defined; add " + name + " ::= ...");
    }
    auto found = rules_.find(std::string(root));
    if (found == rules_.end()) {
      return syntax_error(
          "1:1", "there is no rule " + std::string(root) + "; define it or name another root");
    }
    Status status = with_options_.apply(store_, marks_, fuel_);
    if (!status.ok()) return status;
    NodeRef start = store_.ref(found->second.id);
    Result<bool> live = store_.live(start, fuel_);
    if (!live.ok()) return live.status();
    if (*live) return start;
    return unsatisfiable(place(found->second.line, found->second.column),
                         "rule " + std::string(root) +
                             " can never finish; give its recursion an alternative that ends");
  }

 private:
  bool rules() {
    Token token;
    if (!lexer_.next(token)) return false;
    while (token.kind != Tok::end) {
      if (token.kind != Tok::name || !lexer_.defines_next()) {
        return lexer_.fail_at(Reason::syntax, "a rule begins with name ::=; write it so", token);
      }
      if (!head(token) || !body(token)) return false;
    }
    return true;
  }

  Rule& rule_at(const Token& token) {
    auto [entry, fresh] = rules_.try_emplace(token.text);
    if (fresh) {
      entry->second = {store_.declare(token.text), false, token.line, token.column};
      order_.push_back(token.text);
    }
    return entry->second;
  }

  bool head(const Token& token) {
    Rule& rule = rule_at(token);
    if (rule.defined) {
      return lexer_.fail_at(Reason::syntax,
                            "rule " + token.text + " is already defined at " +
                                place(rule.line, rule.column) + "; join the two with |",
                            token);
    }
    rule.defined = true;
    rule.line = token.line;
    rule.column = token.column;
    current_ = rule.id;
    current_name_ = token.text;
    Token define;
    return lexer_.options(options_) && lexer_.next(define);
  }

  // Reads up to the head of the next rule, which is left in `token`.
  bool body(Token& token) {
    frames_.push_back({token, 0, 0});
    while (true) {
      if (!lexer_.next(token)) return false;
      if (token.kind == Tok::end) break;
      if (token.kind == Tok::name && lexer_.defines_next()) break;
      if (!step(token)) return false;
    }
    if (frames_.size() > 1) {
      return lexer_.fail_at(Reason::syntax, "a group is not closed; add )", frames_.back().open);
    }
    store_.define(current_, node_of(finish_group()));
    if (!options_.text.empty()) {
      std::string at = place(options_.line, options_.column);
      Result<RuleOptions> options = read_rule_options(options_.text, current_name_, at);
      Status suffix =
          options.ok() ? read_suffix(store_, *options, at, limits_, nullptr) : options.status();
      if (!suffix.ok()) {
        lexer_.status = std::move(suffix);
        return false;
      }
      with_options_.add(current_, options.take(), std::move(at), store_.eps());
    }
    if (store_.ok()) return true;
    lexer_.status = store_.fault();
    return false;
  }

  bool step(Token& token) {
    switch (token.kind) {
      case Tok::name:
        return push({store_.ref(rule_at(token).id), false, {}});
      case Tok::literal:
        return push({0, true, std::move(token.text)});
      case Tok::set:
        return push({store_.chars(token.set), false, {}});
      case Tok::open:
        return open(token);
      case Tok::close:
        return close(token);
      case Tok::bar:
      case Tok::comma:
        return next_branch(token);
      case Tok::macro:
        return macro(token);
      case Tok::token:
        return token_terminal(token);
      case Tok::repeat:
        return repeat(token);
      default:
        return lexer_.fail_at(Reason::syntax, "unexpected within a rule", token);
    }
  }

  bool push(Item item) {
    items_.push_back(std::move(item));
    return true;
  }

  bool open(const Token& token) {
    if (frames_.size() > limits_.source_depth) {
      auto depth = static_cast<double>(limits_.source_depth);
      lexer_.status =
          limit_exceeded("source_depth", depth + 1, depth, place(token.line, token.column));
      return false;
    }
    frames_.push_back({token, items_.size(), branches_.size()});
    return true;
  }

  // A comma separates the operands of Both, a bar alternatives everywhere else.
  bool next_branch(const Token& token) {
    const Token& head = frames_.back().open;
    bool operands = head.kind == Tok::macro && head.text == "Both";
    if (operands != (token.kind == Tok::comma)) {
      return lexer_.fail_at(Reason::syntax,
                            operands ? "put alternatives within Both in brackets"
                                     : "a comma stands between the arguments of a macro only",
                            token);
    }
    finish_branch();
    return true;
  }

  bool macro(const Token& token) {
    if (token.text == "Both" || token.text == "Not") return open(token);
    NodeRef node = store_.empty();
    auto rule = [&](const Token& name) { return store_.ref(rule_at(name).id); };
    if (!read_macro(lexer_, token, store_, limits_, rule, node)) return false;
    return push({node, false, {}});
  }

  bool token_terminal(const Token& token) {
    Result<NodeRef> made =
        lower_token_terminal(store_, token.text, place(token.line, token.column));
    if (made.ok()) return push({*made, false, {}});
    lexer_.status = made.status();
    return false;
  }

  // Both(x, y): texts of both; Not(x): byte strings that x does not match.
  bool close_boolean() {
    Token macro = frames_.back().open;
    finish_branch();
    size_t begin = frames_.back().branches;
    frames_.pop_back();
    NodeRef all = store_.anything();
    for (size_t i = begin; i < branches_.size(); ++i) {
      NodeRef node = node_of(std::move(branches_[i]));
      if (!store_.regular(node)) {
        return lexer_.fail_at(Reason::unsupported,
                              macro.text + " takes expressions without rules; write them out",
                              macro);
      }
      all = store_.both(all, macro.text == "Not" ? store_.complement(node) : node);
    }
    branches_.resize(begin);
    return push({all, false, {}});
  }

  bool close(const Token& token) {
    if (frames_.size() > 1 && frames_.back().open.kind == Tok::macro) return close_boolean();
    if (frames_.size() == 1) {
      return lexer_.fail_at(Reason::syntax, "a parenthesis closes nothing; remove it", token);
    }
    bool look = frames_.back().open.look;
    Item group = finish_group();
    // A trailing lookahead is a hint for engines that do not know what follows; here it is known.
    if (look) group = {store_.eps(), false, {}};
    return push(std::move(group));
  }

  bool repeat(const Token& token) {
    if (items_.size() == frames_.back().items) {
      return lexer_.fail_at(Reason::syntax, "nothing to repeat; put an expression before it",
                            token);
    }
    NodeRef node = node_of(std::move(items_.back()));
    items_.back() = {store_.repeat(node, token.lo, token.hi), false, {}};
    return true;
  }

  NodeRef node_of(Item item) { return item.is_text ? store_.bytes(item.text) : item.node; }

  void finish_branch() {
    size_t begin = frames_.back().items;
    if (items_.size() == begin + 1) {
      branches_.push_back(std::move(items_.back()));
    } else {
      std::vector<NodeRef> parts;
      for (size_t i = begin; i < items_.size(); ++i) parts.push_back(node_of(std::move(items_[i])));
      branches_.push_back({store_.concat(parts), false, {}});
    }
    items_.resize(begin);
  }

  Item finish_group() {
    finish_branch();
    size_t begin = frames_.back().branches;
    frames_.pop_back();
    if (branches_.size() == begin + 1) {
      Item only = std::move(branches_.back());
      branches_.resize(begin);
      return only;
    }
    std::vector<NodeRef> choices;
    std::vector<std::string_view> words;
    for (const Item& branch : std::span(branches_).subspan(begin)) {
      if (branch.is_text) {
        words.push_back(branch.text);
      } else {
        choices.push_back(branch.node);
      }
    }
    if (!words.empty()) choices.push_back(literal_trie(store_, words));
    NodeRef node = store_.any_of(choices);
    branches_.resize(begin);
    return {node, false, {}};
  }

  Store& store_;
  const Limits& limits_;
  Fuel& fuel_;
  RuleMarks* marks_;
  Lexer lexer_;
  std::unordered_map<std::string, Rule> rules_;
  std::vector<std::string> order_;  // of first appearance
  OptionRules with_options_;
  RuleId current_ = 0;
  std::string current_name_;
  Token options_;  // of the current rule
  std::vector<Frame> frames_;
  std::vector<Item> items_;
  std::vector<Item> branches_;
};

}  // namespace
}  // namespace treadle::ebnf

namespace treadle {

Result<NodeRef> parse_ebnf(Store& store, std::string_view text, std::string_view root,
                           const Limits& limits, RuleMarks* marks) {
  if (text.size() > limits.source_bytes) {
    return limit_exceeded("source_bytes", static_cast<double>(text.size()),
                          static_cast<double>(limits.source_bytes));
  }
  FuelScope scope(store, limits);
  Result<NodeRef> node = ebnf::Parser(store, text, limits, scope.fuel(), marks).run(root);
  if (!node.ok()) return node;
  return scope.close(*node);
}

}  // namespace treadle
