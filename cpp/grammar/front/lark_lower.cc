// Lark trees to rules of the IR. Terminals become regular nodes, rules references; what a module
// ignores is put behind every lexeme of its rules.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "grammar/front/choice.h"
#include "grammar/front/fuel_scope.h"
#include "grammar/front/json_read.h"
#include "grammar/front/lark_parse.h"
#include "grammar/front/regex.h"
#include "grammar/front/regex_unicode.h"
#include "grammar/front/special.h"
#include "grammar/front/substring.h"

namespace treadle::lark {
namespace {

class Lowering {
 public:
  Lowering(Store& store, const Grammar& grammar, const Limits& limits, Notes& notes,
           RuleMarks* marks, Fuel& fuel)
      : store_(store),
        grammar_(grammar),
        limits_(limits),
        notes_(notes),
        marks_(marks),
        fuel_(fuel) {}

  Result<NodeRef> run() {
    terminals_.resize(grammar_.symbols.size());
    skips_.resize(grammar_.modules.size(), store_.eps());
    bool good = check() && skips();
    for (uint32_t i = 0; good && i < grammar_.symbols.size(); ++i) {
      good = grammar_.symbols[i].terminal ? terminal(i) : demand(i);
    }
    if (!good) return status_;
    NodeRef start = module_start(0);
    while (!pending_.empty() && status_.ok()) {
      Instance next = pending_.back();
      pending_.pop_back();
      rule(next);
    }
    if (status_.ok()) status_ = with_options_.apply(store_, marks_, fuel_);
    if (!status_.ok()) return status_;
    Result<bool> live = store_.live(start, fuel_);
    if (!live.ok()) return live.status();
    if (*live) return start;
    const Symbol& symbol = grammar_.symbols[start_of(0)];
    return unsatisfiable(
        at(symbol.module, symbol.line, symbol.column),
        "rule " + symbol.name + " can never finish; give its recursion an alternative that ends");
  }

 private:
  static constexpr uint64_t kNodeCost = 8;  // fuel units of a new node, of a rule with a parameter
  static constexpr uint64_t kInstanceCost = 100;
  enum class Mark : uint8_t { fresh, open, done };
  struct Terminal {
    Mark mark = Mark::fresh;
    NodeRef node = 0;
  };
  struct Instance {
    uint32_t symbol;
    uint64_t param;
    RuleId rule;
  };
  // Where a body stands and how its leaves are read.
  struct Context {
    uint32_t module;
    bool terminal;
    bool parametric;
    uint64_t param;
    NodeRef skip;
  };

  std::string at(uint32_t module, uint32_t line, uint32_t column) const {
    return grammar_.modules[module].label + place(line, column);
  }

  bool fail(Reason reason, std::string where, std::string text) {
    if (status_.ok()) status_ = grammar_error(reason, std::move(where), std::move(text));
    return false;
  }
  bool refuse(Reason reason, const Context& in, const Node& n, std::string text) {
    return fail(reason, at(in.module, n.line, n.column), std::move(text));
  }

  // An error inside an embedded source stands behind the place of that source.
  NodeRef placed(const Context& in, const Node& n, Result<NodeRef> made) {
    if (made.ok()) return *made;
    if (!status_.ok()) return store_.empty();
    status_ = made.status();
    std::string where = at(in.module, n.line, n.column);
    status_.at = status_.at.empty() ? where : where + " " + status_.at;
    return store_.empty();
  }

  // --- names ---

  uint32_t target(uint32_t symbol) const {
    const Symbol& s = grammar_.symbols[symbol];
    return s.target == kNone ? symbol : s.target;
  }

  uint32_t start_of(uint32_t module) const {
    const Module& m = grammar_.modules[module];
    auto found = m.symbols.find(m.start);
    return found == m.symbols.end() ? kNone : found->second;
  }

  bool check() {
    for (const Symbol& s : grammar_.symbols) {
      if (s.defined) continue;
      bool library = grammar_.modules[s.module].library;  // then the place is that of the import
      return fail(Reason::syntax,
                  library ? place(s.line, s.column) : at(s.module, s.line, s.column),
                  library ? "there is no common." + s.name + "; write the terminal out"
                          : s.name + " is not defined; add " + s.name + ": ...");
    }
    for (uint32_t m = 0; m < grammar_.modules.size(); ++m) {
      if (grammar_.modules[m].library || start_of(m) != kNone) continue;
      const Module& module = grammar_.modules[m];
      return fail(Reason::syntax, at(m, module.line, module.column),
                  "there is no rule " + module.start + "; define it or name another start");
    }
    return true;
  }

  bool skips() {
    for (uint32_t m = 0; m < grammar_.modules.size(); ++m) {
      const Module& module = grammar_.modules[m];
      std::vector<NodeRef> choices;
      for (uint32_t body : module.ignores) {
        if (!ready(body, m)) return false;
        choices.push_back(lower(grammar_.bodies[body], {m, true, false, 0, store_.eps()}));
      }
      NodeRef any = store_.any_of(choices);
      skips_[m] = module.skip_once ? store_.optional(any) : store_.star(any);
      if (!status_.ok()) return false;
    }
    return true;
  }

  // --- terminals ---

  // Lowers the terminals that a body refers to; then the body can be lowered.
  bool ready(uint32_t body, uint32_t module) {
    for (const Node& n : grammar_.bodies[body].nodes) {
      if (n.op != Op::name) continue;
      if (!grammar_.symbols[n.a].terminal) {
        return fail(Reason::syntax, at(module, n.line, n.column),
                    "a terminal cannot refer to rule " + grammar_.symbols[n.a].name +
                        "; give that an upper-case name, or this a lower-case one");
      }
      if (!terminal(n.a)) return false;
    }
    return true;
  }

  bool terminal(uint32_t root) {
    struct Task {
      uint32_t symbol;
      size_t node;
    };
    std::vector<Task> stack;
    auto enter = [&](uint32_t symbol) {
      symbol = target(symbol);
      if (terminals_[symbol].mark == Mark::done) return true;
      if (terminals_[symbol].mark == Mark::open) {
        const Symbol& s = grammar_.symbols[symbol];
        return fail(Reason::unsupported, at(s.module, s.line, s.column),
                    "terminal " + s.name + " contains itself; make it a rule (a lower-case name)");
      }
      terminals_[symbol].mark = Mark::open;
      stack.push_back({symbol, 0});
      return true;
    };
    if (!enter(root)) return false;
    while (!stack.empty()) {
      Task& task = stack.back();
      const Symbol& symbol = grammar_.symbols[task.symbol];
      const std::vector<Node>& nodes = grammar_.bodies[symbol.body].nodes;
      bool entered = false;
      while (!entered && task.node < nodes.size()) {
        const Node& n = nodes[task.node++];
        if (n.op != Op::name || !grammar_.symbols[n.a].terminal) continue;
        size_t depth = stack.size();
        if (!enter(n.a)) return false;
        entered = stack.size() > depth;  // `task` no longer stands
      }
      if (entered) continue;
      uint32_t index = stack.back().symbol;
      stack.pop_back();
      Context in{symbol.module, true, false, 0, store_.eps()};
      NodeRef body = lower(grammar_.bodies[symbol.body], in);
      if (!symbol.options.empty()) {
        return fail(Reason::unsupported, at(symbol.module, symbol.line, symbol.options_column),
                    "options stand on rules; give " + symbol.name + " a lower-case name");
      }
      terminals_[index] = {Mark::done, body};
      if (!status_.ok()) return false;
    }
    return true;
  }

  // --- rules ---

  bool demand(uint32_t symbol) {
    if (!grammar_.symbols[symbol].parametric) instance(symbol, 0);
    return true;
  }

  NodeRef instance(uint32_t symbol, uint64_t param) {
    auto [entry, fresh] = instances_.try_emplace({symbol, param}, 0);
    if (fresh) {
      entry->second = store_.declare(grammar_.symbols[symbol].name);
      fuel_.spend(kInstanceCost);
      pending_.push_back({symbol, param, entry->second});
    }
    return store_.ref(entry->second);
  }

  void rule(const Instance& one) {
    const Symbol& s = grammar_.symbols[one.symbol];
    Context in{s.module, false, s.parametric, one.param, skips_[s.module]};
    std::string where = at(s.module, s.line, s.options_column);
    Result<RuleOptions> options = read_rule_options(s.options, s.name, where);
    if (!options.ok()) {
      status_ = options.status();
      return;
    }
    const auto terminal = [&](const std::string& name) -> std::optional<NodeRef> {
      const auto& names = grammar_.modules[s.module].symbols;
      const auto found = names.find(name);
      if (found == names.end() || !grammar_.symbols[found->second].terminal) return std::nullopt;
      return terminals_[target(found->second)].node;
    };
    status_ = read_suffix(store_, *options, where, limits_, terminal);
    if (!status_.ok()) return;
    // What is ignored comes after a rule that is shaped, as after a terminal.
    if (options->shapes()) in.skip = store_.eps();
    store_.define(one.rule, lower(grammar_.bodies[s.body], in));
    NodeRef tail = options->shapes() ? skips_[s.module] : store_.eps();
    if (!s.options.empty()) with_options_.add(one.rule, options.take(), std::move(where), tail);
  }

  NodeRef module_start(uint32_t module) {
    uint32_t symbol = start_of(module);
    const Symbol& s = grammar_.symbols[symbol];
    if (s.parametric) {
      fail(Reason::syntax, at(module, s.line, s.column),
           "the start takes no parameter; begin with a rule that gives it one");
      return store_.empty();
    }
    NodeRef start =
        s.terminal ? lexeme(terminals_[target(symbol)].node, skips_[module]) : instance(symbol, 0);
    if (!grammar_.modules[module].skip_first) return start;
    return store_.cat(skips_[module], start);
  }

  // --- bodies ---

  // A text of the terminal, and what is ignored after it; after no text nothing is.
  NodeRef lexeme(NodeRef node, NodeRef skip) {
    if (skip == store_.eps() || !store_.nullable(node)) return store_.cat(node, skip);
    NodeRef solid = store_.both(node, store_.complement(store_.eps()));
    return store_.alt(store_.eps(), store_.cat(solid, skip));
  }

  NodeRef lower(const Body& body, const Context& in) {
    std::vector<NodeRef> values(body.nodes.size(), store_.empty());
    for (size_t i = 0; i < body.nodes.size(); ++i) {
      uint32_t before = store_.size();
      values[i] = value(body, body.nodes[i], values, in);
      // Terminals are expanded where they stand, so few words can make many nodes.
      if (!fuel_.spend(1 + kNodeCost * (store_.size() - before))) status_ = fuel_.status();
      if (status_.ok() && !store_.ok()) status_ = store_.fault();
      if (!status_.ok()) return store_.empty();
    }
    return values.back();
  }

  NodeRef value(const Body& body, const Node& n, const std::vector<NodeRef>& values,
                const Context& in) {
    switch (n.op) {
      case Op::text:
        return lexeme(text(n), in.skip);
      case Op::range:
        return lexeme(store_.chars(CharSet::range(n.lo, n.hi)), in.skip);
      case Op::regex:
        return lexeme(regex(n, in), in.skip);
      case Op::substring:
        return lexeme(pieces(n, in), in.skip);
      case Op::name:
        return name(n, in);
      case Op::sequence:
        return store_.concat(children(body, n, values));
      case Op::choice:
        return choice(body, n, values, in);
      case Op::both:
      case Op::invert:
        return boolean(body, n, values, in);
      case Op::repeat:
        return store_.repeat(values[n.a], n.lo, n.hi);
      case Op::guard:
        return guard(n, values, in);
      default:
        break;
    }
    if (in.terminal) {
      refuse(Reason::syntax, in, n,
             "%json, %lark, @grammars and tokens stand in rules; give this a lower-case name");
      return store_.empty();
    }
    if (n.op == Op::json) return store_.cat(json(n, in), in.skip);
    if (n.op == Op::module) return store_.cat(module_start(n.a), in.skip);
    Result<NodeRef> token =
        lower_token_terminal(store_, grammar_.span(n.a, n.b), at(in.module, n.line, n.column));
    if (token.ok()) return store_.cat(*token, in.skip);
    status_ = token.status();
    return store_.empty();
  }

  static std::vector<NodeRef> children(const Body& body, const Node& n,
                                       const std::vector<NodeRef>& values) {
    std::vector<NodeRef> out;
    for (uint32_t i = n.a; i < n.a + n.b; ++i) out.push_back(values[body.lists[i]]);
    return out;
  }

  NodeRef text(const Node& n) {
    std::string_view text = grammar_.span(n.a, n.b);
    if (!n.flag) return store_.bytes(text);
    std::vector<NodeRef> parts;
    for (std::string_view piece : split_chars(text)) {
      uint32_t c = 0;
      read_utf8(piece, 0, c);
      parts.push_back(store_.chars(close_under_case(CharSet::single(c), fuel_)));
    }
    return store_.concat(parts);
  }

  NodeRef regex(const Node& n, const Context& in) {
    RegexOptions base;
    base.terminal = true;
    Result<RegexOptions> options = regex_flags(grammar_.span(n.lo, n.hi), base);
    if (!options.ok()) return placed(in, n, options.status());
    return placed(in, n, parse_regex(store_, grammar_.span(n.a, n.b), *options, limits_));
  }

  NodeRef name(const Node& n, const Context& in) {
    const Symbol& symbol = grammar_.symbols[n.a];
    bool parametric = n.code != kNone;
    if (parametric != symbol.parametric) {
      refuse(Reason::syntax, in, n,
             parametric ? symbol.name + " takes no parameter; define it as " + symbol.name + "::_"
                        : symbol.name + " takes a parameter; write " + symbol.name + "::_");
      return store_.empty();
    }
    if (symbol.terminal) return lexeme(terminals_[target(n.a)].node, in.skip);
    if (in.terminal) {
      refuse(Reason::syntax, in, n,
             "a terminal cannot refer to rule " + symbol.name +
                 "; give that an upper-case name, or this a lower-case one");
      return store_.empty();
    }
    return instance(n.a, parametric ? param_value(grammar_.codes[n.code], in.param) : 0);
  }

  // Plain texts go through a trie, so that a list of keywords costs the depth of one.
  NodeRef choice(const Body& body, const Node& n, const std::vector<NodeRef>& values,
                 const Context& in) {
    std::vector<NodeRef> choices;
    std::vector<ChoiceEntry> words;
    for (uint32_t i = n.a; i < n.a + n.b; ++i) {
      const Node& child = body.nodes[body.lists[i]];
      if (child.op == Op::text && !child.flag && child.b > 0) {
        words.push_back({grammar_.span(child.a, child.b), in.skip});
      } else {
        choices.push_back(values[body.lists[i]]);
      }
    }
    if (!words.empty()) choices.push_back(trie(store_, std::move(words)));
    return store_.any_of(choices);
  }

  // ~x is every text but x, in UTF-8 as all texts; below & another operand sees to that.
  NodeRef boolean(const Body& body, const Node& n, const std::vector<NodeRef>& values,
                  const Context& in) {
    if (!in.terminal) {
      refuse(Reason::unsupported, in, n,
             "& and ~ stand in terminals; move the expression to one (an upper-case name)");
      return store_.empty();
    }
    if (n.op == Op::invert) {
      return store_.both(store_.any_text(), store_.complement(values[n.a]));
    }
    NodeRef all = store_.anything();
    bool text = false;
    for (uint32_t i = n.a; i < n.a + n.b; ++i) {
      const Node& child = body.nodes[body.lists[i]];
      bool inverted = child.op == Op::invert;
      text |= !inverted;
      all = store_.both(all, inverted ? store_.complement(values[child.a]) : values[body.lists[i]]);
    }
    return text ? all : store_.both(store_.any_text(), all);
  }

  NodeRef guard(const Node& n, const std::vector<NodeRef>& values, const Context& in) {
    if (!in.parametric) {
      refuse(Reason::syntax, in, n, "%if stands in rules with a parameter; define name::_");
      return store_.empty();
    }
    return param_holds(grammar_.codes[n.code], in.param) ? values[n.a] : store_.empty();
  }

  NodeRef json(const Node& n, const Context& in) {
    SchemaOptions options;
    return placed(in, n, parse_schema(store_, grammar_.span(n.a, n.b), options, limits_, notes_));
  }

  // {"substring_chunks": [...]}, {"substring_chars": "..."} or {"substring_words": "..."}
  NodeRef pieces(const Node& n, const Context& in) {
    json::ReadLimits limits{.bytes = limits_.source_bytes, .depth = limits_.source_depth};
    Result<json::Document> read = json::read(grammar_.span(n.a, n.b), limits);
    if (!read.ok()) return placed(in, n, read.status());
    json::Value root = read->root();
    json::Value value = root.first();
    std::string key = value ? std::string(value.key()) : "";
    bool list = key == "substring_chunks" && value.is_array();
    bool text = (key == "substring_chars" || key == "substring_words") && value.is_string();
    std::vector<std::string_view> chunks;
    if (list) {
      for (json::Value chunk : value) {
        list &= chunk.is_string();
        if (list) chunks.push_back(chunk.text());
      }
    } else if (text) {
      chunks = key == "substring_chars" ? split_chars(value.text()) : split_words(value.text());
    }
    if (root.size() != 1 || !(list || text)) {
      refuse(Reason::unsupported, in, n,
             "%regex takes one of substring_chunks (a list of texts), substring_chars and "
             "substring_words (a text)");
      return store_.empty();
    }
    return substring(store_, chunks);
  }

  Store& store_;
  const Grammar& grammar_;
  const Limits& limits_;
  Notes& notes_;
  RuleMarks* marks_;
  Fuel& fuel_;
  Status status_;
  OptionRules with_options_;
  std::vector<Terminal> terminals_;
  std::vector<NodeRef> skips_;  // by module
  std::map<std::pair<uint32_t, uint64_t>, RuleId> instances_;
  std::vector<Instance> pending_;
};

}  // namespace
}  // namespace treadle::lark

namespace treadle {

Result<NodeRef> parse_lark(Store& store, std::string_view text, const LarkOptions& options,
                           const Limits& limits, Notes& notes, RuleMarks* marks) {
  uint64_t total = text.size();
  for (const auto& [name, named] : options.named) total += named.size();
  if (total > limits.source_bytes) {
    return limit_exceeded("source_bytes", static_cast<double>(total),
                          static_cast<double>(limits.source_bytes));
  }
  FuelScope scope(store, limits);
  lark::Grammar grammar;
  lark::Sources sources(grammar, options);
  grammar.modules.emplace_back();
  grammar.modules.back().start = options.start;
  uint32_t module = 0;
  do {
    Status status = lark::Parser(sources, text, module, limits, scope.fuel()).run();
    if (!status.ok()) return status;
  } while (sources.next(text, module));
  Result<NodeRef> node = lark::Lowering(store, grammar, limits, notes, marks, scope.fuel()).run();
  if (!node.ok()) return node;
  return scope.close(*node);
}

}  // namespace treadle
