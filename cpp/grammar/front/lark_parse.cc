#include "grammar/front/lark_parse.h"

#include "grammar/ir/charset.h"
#include "grammar/ir/node.h"

namespace treadle::lark {
namespace {

constexpr uint64_t kMaxCount = 0x7FFFFFFF;

}  // namespace

uint32_t Sources::add(std::string label, std::string_view text) {
  auto module = static_cast<uint32_t>(grammar.modules.size());
  grammar.modules.emplace_back();
  grammar.modules.back().label = std::move(label);
  unread_.push_back({text, module});
  return module;
}

uint32_t Sources::named(const std::string& name) {
  auto known = known_.find(name);
  if (known != known_.end()) return known->second;
  for (const auto& [key, text] : options_.named) {
    if (key == name) return known_[name] = add("@" + name + " ", text);
  }
  return kNone;
}

uint32_t Sources::common() {
  auto [entry, fresh] = known_.try_emplace("%common", 0);  // no name has a percent sign
  if (fresh) {
    entry->second = add("common ", common_terminals());
    grammar.modules.back().library = true;
  }
  return entry->second;
}

bool Sources::next(std::string_view& text, uint32_t& module) {
  if (unread_.empty()) return false;
  text = unread_.back().first;
  module = unread_.back().second;
  unread_.pop_back();
  return true;
}

Status Parser::run() {
  if (loop()) return ok_status();
  Status status = lexer_.status;
  if (status.code == Code::grammar_error) status.at = grammar_.modules[module_].label + status.at;
  return status;
}

bool Parser::loop() {
  if (!open(Scope::module, kNone) || !advance()) return false;
  while (true) {
    Frame& frame = frames_.back();
    bool nested = frames_.size() > 1;
    if (frame.scope == Scope::module) {
      if (token_.kind == Tok::end && !nested) return true;
      if (token_.kind == Tok::end) {
        return lexer_.fail_at(Reason::syntax, "a %lark block is not closed; add }", frame.open);
      }
      if (!(nested && token_.is('}') ? close_module() : statement())) return false;
      continue;
    }
    bool ends = token_.kind == Tok::end;
    if (frame.scope == Scope::rule) {
      ends |= token_.is('}') || (token_.first && !token_.is('|') && !token_.is('&'));
    }
    if (!(ends ? finish_body() : step())) return false;
  }
}

bool Parser::open(Scope scope, uint32_t body) {
  if (frames_.size() > limits_.source_depth) {
    auto depth = static_cast<double>(limits_.source_depth);
    lexer_.status =
        limit_exceeded("source_depth", depth + 1, depth, place(token_.line, token_.column));
    return false;
  }
  Frame frame;
  frame.scope = scope;
  frame.open = token_;
  frame.outer = module_;
  frame.body = body;
  frame.items = items_.size();
  frame.terms = terms_.size();
  frame.branches = branches_.size();
  frame.inverted = invert_;
  invert_ = false;
  frames_.push_back(std::move(frame));
  return true;
}

bool Parser::expect(char mark, const char* where) {
  if (!token_.is(mark)) {
    return error(Reason::syntax, std::string("expected ") + mark + " " + where);
  }
  return advance();
}

// --- nodes ---

Node Parser::node(Op op, const Token& at) {
  Node made;
  made.op = op;
  made.line = at.line;
  made.column = at.column;
  return made;
}

Node Parser::spelled(Op op, const Token& at, std::string_view spelled) {
  Node made = node(op, at);
  made.a = static_cast<uint32_t>(grammar_.text.size());
  made.b = static_cast<uint32_t>(spelled.size());
  grammar_.text += spelled;
  return made;
}

Id Parser::add(Node node) {
  body().nodes.push_back(node);
  return static_cast<Id>(body().nodes.size() - 1);
}

// The top of the stack as one node; one child stands for itself.
Id Parser::list(Op op, std::vector<Id>& stack, size_t from) {
  Id made = kNone;
  if (stack.size() == from + 1) {
    made = stack.back();
  } else {
    Node node = this->node(op, frames_.back().open);
    node.a = static_cast<uint32_t>(body().lists.size());
    node.b = static_cast<uint32_t>(stack.size() - from);
    body().lists.insert(body().lists.end(), stack.begin() + static_cast<std::ptrdiff_t>(from),
                        stack.end());
    made = add(node);
  }
  stack.resize(from);
  return made;
}

bool Parser::push_id(Id id) {
  if (invert_) {
    Node inverted = node(Op::invert, token_);
    inverted.a = id;
    id = add(inverted);
    invert_ = false;
  }
  frames_.back().wants_item = false;
  items_.push_back(id);
  return postfix();
}

bool Parser::push(Node node) {
  return push_id(add(node));
}

void Parser::finish_term() {
  terms_.push_back(list(Op::sequence, items_, frames_.back().items));
}

void Parser::finish_branch() {
  finish_term();
  Frame& frame = frames_.back();
  Id branch = list(Op::both, terms_, frame.terms);
  if (frame.guard != kNone) {
    Node guarded = node(Op::guard, frame.open);
    guarded.a = branch;
    guarded.code = frame.guard;
    branch = add(guarded);
    frame.guard = kNone;
  }
  branches_.push_back(branch);
}

Id Parser::finish_choice() {
  finish_branch();
  return list(Op::choice, branches_, frames_.back().branches);
}

bool Parser::finish_body() {
  Frame& frame = frames_.back();
  if (frame.scope != Scope::rule) {
    return lexer_.fail_at(Reason::syntax, "a group is not closed; add ) or ]", frame.open);
  }
  if (frame.wants_item || invert_) return error(Reason::syntax, "an expression is missing here");
  finish_choice();  // its node is the last one of the body
  frames_.pop_back();
  return true;
}

bool Parser::close_module() {
  Frame frame = std::move(frames_.back());
  frames_.pop_back();
  Node made = node(Op::module, frame.open);
  made.a = module_;
  module_ = frame.outer;
  invert_ = frame.inverted;
  fresh_ = false;
  return advance() && push(made);
}

// --- expressions ---

bool Parser::step() {
  if (token_.kind == Tok::arrow) {  // an alias names a node of lark's trees
    if (!advance()) return false;
    if (token_.kind != Tok::name) return error(Reason::syntax, "-> needs a name");
    return advance();
  }
  if (token_.kind == Tok::directive && token_.text == "if") return guard();
  if (token_.is('|')) return bar();
  if (token_.is(')') || token_.is(']')) return close_group();
  if (token_.is('&')) {
    Frame& frame = frames_.back();
    if (items_.size() == frame.items || invert_) return error(Reason::syntax, "nothing before &");
    finish_term();
    frame.wants_item = true;
    return advance();
  }
  if (token_.is('~')) {
    invert_ = !invert_;
    frames_.back().wants_item = true;
    return advance();
  }
  if (token_.is('(') || token_.is('[')) {
    Scope scope = token_.is('(') ? Scope::group : Scope::maybe;
    return open(scope, frames_.back().body) && advance();
  }
  return atom();
}

bool Parser::bar() {
  Frame& frame = frames_.back();
  if (frame.wants_item || invert_) return error(Reason::syntax, "an expression is missing here");
  finish_branch();
  return advance();
}

bool Parser::guard() {
  if (!advance()) return false;
  ParamCode code;
  if (!read_param_condition(lexer_, token_, code)) return false;
  if (frames_.back().guard != kNone) return error(Reason::syntax, "join conditions with and(...)");
  frames_.back().guard = static_cast<uint32_t>(grammar_.codes.size());
  grammar_.codes.push_back(std::move(code));
  return true;
}

bool Parser::close_group() {
  Frame& frame = frames_.back();
  Scope scope = token_.is(')') ? Scope::group : Scope::maybe;
  if (frame.scope != scope) {
    return error(Reason::syntax, "this bracket closes nothing; remove it or open it");
  }
  if (frame.wants_item || invert_) return error(Reason::syntax, "an expression is missing here");
  Id group = finish_choice();
  if (scope == Scope::maybe) {
    Node optional = node(Op::repeat, frame.open);
    optional.a = group;
    optional.hi = 1;
    group = add(optional);
  }
  invert_ = frame.inverted;
  frames_.pop_back();
  return advance() && push_id(group);
}

bool Parser::atom() {
  Node made;
  switch (token_.kind) {
    case Tok::string:
      return text();
    case Tok::name:
      return name();
    case Tok::directive:
      return block();
    case Tok::regex:
      made = spelled(Op::regex, token_, token_.text);
      made.lo = static_cast<uint32_t>(grammar_.text.size());
      made.hi = static_cast<uint32_t>(token_.flags.size());
      grammar_.text += token_.flags;
      return advance() && push(made);
    case Tok::token:
      made = spelled(Op::token, token_, token_.text);
      return advance() && push(made);
    case Tok::named:
      made = node(Op::module, token_);
      made.a = sources_.named(token_.text);
      if (made.a == kNone) {
        return error(Reason::syntax,
                     "there is no grammar called " + token_.text + "; give it with the others");
      }
      return advance() && push(made);
    default:
      return error(Reason::syntax, "unexpected here; a rule is written name: expression");
  }
}

bool Parser::text() {
  Token low = std::move(token_);
  if (!advance()) return false;
  if (token_.kind != Tok::dots) {
    Node made = spelled(Op::text, low, low.text);
    made.flag = !low.flags.empty();
    return push(made);
  }
  if (!advance()) return false;
  Node made = node(Op::range, low);
  bool good = token_.kind == Tok::string && low.flags.empty() && token_.flags.empty() &&
              read_utf8(low.text, 0, made.lo) == low.text.size() && !low.text.empty() &&
              read_utf8(token_.text, 0, made.hi) == token_.text.size() && !token_.text.empty();
  if (!good || made.lo > made.hi) {
    return lexer_.fail_at(Reason::syntax, "a range is written \"a\"..\"z\", the lower end first",
                          low);
  }
  return advance() && push(made);
}

bool Parser::name() {
  Node made = node(Op::name, token_);
  made.a = symbol(token_);
  if (!advance()) return false;
  if (token_.is('{') && !lexer_.bounds_next()) {
    return error(Reason::unsupported, "templates are not supported; write the rule out");
  }
  if (token_.kind != Tok::params) return push(made);
  made.code = static_cast<uint32_t>(grammar_.codes.size());
  ParamCode code;
  if (!advance() || !read_param_value(lexer_, token_, code)) return false;
  grammar_.codes.push_back(std::move(code));
  return push(made);
}

// %json, %regex and %lark within an expression.
bool Parser::block() {
  if (token_.text == "json" || token_.text == "regex") {
    Op op = token_.text == "json" ? Op::json : Op::substring;
    Node made = spelled(op, token_, token_.flags);
    return advance() && push(made);
  }
  if (token_.text != "lark") {
    return error(Reason::syntax, "%" + token_.text + " cannot stand in an expression");
  }
  Token at = token_;
  if (!advance()) return false;
  if (!token_.is('{')) return error(Reason::syntax, "%lark needs { and a grammar");
  if (!open(Scope::module, kNone)) return false;
  frames_.back().open = at;
  std::string label = grammar_.modules[module_].label;
  module_ = static_cast<uint32_t>(grammar_.modules.size());
  grammar_.modules.emplace_back();
  Module& made = grammar_.modules.back();
  made.label = std::move(label);
  made.line = at.line;
  made.column = at.column;
  fresh_ = true;
  return advance();
}

// --- repetition ---

bool Parser::postfix() {
  while (!token_.first || frames_.back().scope != Scope::rule) {
    uint32_t lo = 0;
    uint32_t hi = kOpen;
    if (token_.is('*') || token_.is('+') || token_.is('?')) {
      if (token_.is('+')) lo = 1;
      if (token_.is('?')) hi = 1;
      if (!advance()) return false;
    } else if ((token_.is('~') && lexer_.bounds_next()) || token_.is('{')) {
      if (!bounds(lo, hi)) return false;
    } else {
      return lexer_.status.ok();
    }
    if (!repeat(lo, hi)) return false;
  }
  return lexer_.status.ok();
}

bool Parser::repeat(uint32_t lo, uint32_t hi) {
  if (lo > hi) {
    return error(Reason::syntax, "the bounds of a repetition are out of order; swap them");
  }
  Node made = node(Op::repeat, token_);
  made.a = items_.back();
  made.lo = lo;
  made.hi = hi;
  items_.back() = add(made);
  return true;
}

bool Parser::count(uint32_t& value) {
  if (token_.kind != Tok::number || token_.negative) {
    return error(Reason::syntax, "a repetition needs a number here");
  }
  if (token_.number > kMaxCount) {
    return error(Reason::unsupported, "a repetition count is above 2147483647; lower it");
  }
  value = static_cast<uint32_t>(token_.number);
  return advance();
}

// ~n, ~n..m, {n}, {n,}, {n,m} and {,m}, from their first token on.
bool Parser::bounds(uint32_t& lo, uint32_t& hi) {
  bool braces = token_.is('{');
  if (!advance()) return false;
  lo = 0;
  if (!(braces && token_.is(',')) && !count(lo)) return false;
  hi = lo;
  bool more = braces ? token_.is(',') : token_.kind == Tok::dots;
  if (more) {
    if (!advance()) return false;
    hi = kOpen;
    if (!(braces && token_.is('}')) && !count(hi)) return false;
  }
  return !braces || expect('}', "after a repetition");
}

}  // namespace treadle::lark
