#include "grammar/front/regex_parse.h"

#include <utility>
#include <vector>

#include "grammar/front/regex_lex.h"

namespace treadle::regex {
namespace {

// One open group; the bottom frame is the pattern itself.
struct Frame {
  Token open;
  size_t items;        // where its current branch begins in `items_`
  size_t branches;     // where its branches begin in `branches_`
  RegexOptions outer;  // flags to restore at the closing parenthesis
};

class Parser {
 public:
  Parser(std::string_view pattern, const RegexOptions& options, const Limits& limits, Fuel& fuel)
      : limits_(limits), lexer_(pattern, options, fuel) {}

  Result<Parsed> run() {
    open(Token{});
    Token token;
    while (true) {
      if (!lexer_.next(token)) return lexer_.status;
      if (token.kind == Tok::end) break;
      if (!step(token)) return lexer_.status;
    }
    flush();
    if (frames_.size() > 1) {
      lexer_.fail(Reason::syntax, "a group is not closed; add )", frames_.back().open.offset);
      return lexer_.status;
    }
    out_.root = finish_group();
    return std::move(out_);
  }

 private:
  bool step(const Token& token) {
    switch (token.kind) {
      case Tok::symbol:
        return symbol(token);
      case Tok::set:
        flush();
        return quantified(out_.ast.chars(token.set, token.offset));
      case Tok::begin:
      case Tok::finish:
      case Tok::border:
        return anchor(token);
      case Tok::open:
      case Tok::look:
        return open(token);
      case Tok::bar:
        flush();
        finish_branch();
        return true;
      default:
        return close(token);
    }
  }

  // Plain characters are gathered into one literal, except the last one before a quantifier.
  bool symbol(const Token& token) {
    CharSet set;  // left empty where no case could add to the character
    bool plain = !is_surrogate(token.c);
    if (!plain || lexer_.flags.ignore_case) {
      set = lexer_.cased(CharSet::single(token.c));
      plain &= set.count() == 1;
    }
    Bounds bounds;
    bool repeated = lexer_.quantifier(bounds);
    if (!repeated && !lexer_.status.ok()) return false;
    if (plain && !repeated) {
      if (pending_.empty()) pending_offset_ = token.offset;
      append_utf8(pending_, token.c);
      return true;
    }
    flush();
    std::string utf8;
    if (plain) append_utf8(utf8, token.c);
    Id atom = plain ? out_.ast.literal(utf8, token.offset) : out_.ast.chars(set, token.offset);
    items_.push_back(repeated ? repeat(atom, bounds) : atom);
    return true;
  }

  bool anchor(const Token& token) {
    flush();
    Node node{.offset = token.offset};
    if (token.kind == Tok::border) {
      node.kind = Kind::border;
      node.a = token.negative;
      out_.borders = true;
      out_.ignore_case |= lexer_.flags.ignore_case;
    } else {
      node.kind = token.kind == Tok::begin ? Kind::begin : Kind::end;
      node.a = lexer_.flags.multiline;
      out_.line_anchors |= lexer_.flags.multiline;
    }
    Bounds bounds;
    if (lexer_.quantifier(bounds)) {
      return lexer_.fail(Reason::syntax, "an assertion cannot be repeated; remove the quantifier",
                         token.offset);
    }
    // The same assertion twice at one place says nothing new, and would cost a seam.
    bool known = items_.size() > frames_.back().items &&
                 out_.ast.at(items_.back()).kind == node.kind &&
                 out_.ast.at(items_.back()).a == node.a;
    if (!known) items_.push_back(out_.ast.add(node));
    return lexer_.status.ok();
  }

  bool open(const Token& token) {
    flush();
    if (frames_.size() > limits_.source_depth) {
      auto depth = static_cast<double>(limits_.source_depth);
      lexer_.status = limit_exceeded("source_depth", depth + 1, depth,
                                     "offset " + std::to_string(token.offset));
      return false;
    }
    frames_.push_back({token, items_.size(), branches_.size(), lexer_.flags});
    if (token.kind == Tok::open) lexer_.flags = token.flags;
    return true;
  }

  bool close(const Token& token) {
    flush();
    if (frames_.size() == 1) {
      return lexer_.fail(Reason::syntax, "a parenthesis closes nothing; write \\) for a character",
                         token.offset);
    }
    Token head = frames_.back().open;
    lexer_.flags = frames_.back().outer;
    Id body = finish_group();
    if (head.kind != Tok::look) return quantified(body);
    const Node& below = out_.ast.at(body);
    if (below.has_behind && below.has_ahead) {
      return lexer_.fail(Reason::unsupported,
                         "lookahead and lookbehind inside one assertion; split the assertion",
                         head.offset);
    }
    if (head.behind && below.has_ahead) {
      return lexer_.fail(Reason::unsupported, "a lookahead inside a lookbehind; move it out",
                         head.offset);
    }
    Bounds bounds;
    if (lexer_.quantifier(bounds)) {
      return lexer_.fail(Reason::unsupported, "a quantifier on a lookaround; remove it",
                         head.offset);
    }
    if (!lexer_.status.ok()) return false;
    items_.push_back(out_.ast.add({.kind = Kind::look,
                                   .behind = head.behind,
                                   .negative = head.negative,
                                   .a = body,
                                   .offset = head.offset}));
    return true;
  }

  bool quantified(Id atom) {
    Bounds bounds;
    if (!lexer_.quantifier(bounds)) {
      items_.push_back(atom);
      return lexer_.status.ok();
    }
    const Node& node = out_.ast.at(atom);
    bool looks = node.has_ahead || node.has_behind;
    if (looks && bounds.hi > 1) {
      return lexer_.fail(Reason::unsupported,
                         "lookaround under a quantifier; write the repetitions out", node.offset);
    }
    items_.push_back(repeat(atom, bounds));
    return true;
  }

  Id repeat(Id atom, Bounds bounds) {
    if (bounds.lo == 1 && bounds.hi == 1) return atom;
    uint32_t offset = out_.ast.at(atom).offset;
    if (bounds.hi == 0) return out_.ast.eps(offset);
    if (bounds.lo == 0 && bounds.hi == 1) {
      Id choices[] = {atom, out_.ast.eps(offset)};
      return out_.ast.list(Kind::any_of, choices, offset);
    }
    return out_.ast.add(
        {.kind = Kind::repeat, .a = atom, .lo = bounds.lo, .hi = bounds.hi, .offset = offset});
  }

  void flush() {
    if (pending_.empty()) return;
    items_.push_back(out_.ast.literal(pending_, pending_offset_));
    pending_.clear();
  }

  void finish_branch() {
    const Frame& frame = frames_.back();
    std::span<const Id> items = std::span(items_).subspan(frame.items);
    branches_.push_back(out_.ast.list(Kind::concat, items, frame.open.offset));
    items_.resize(frame.items);
  }

  Id finish_group() {
    finish_branch();
    Frame frame = frames_.back();
    frames_.pop_back();
    std::span<const Id> branches = std::span(branches_).subspan(frame.branches);
    Id group = out_.ast.list(Kind::any_of, branches, frame.open.offset);
    branches_.resize(frame.branches);
    return group;
  }

  const Limits& limits_;
  Lexer lexer_;
  Parsed out_;
  std::vector<Frame> frames_;
  std::vector<Id> items_;
  std::vector<Id> branches_;
  std::string pending_;
  uint32_t pending_offset_ = 0;
};

}  // namespace

Result<Parsed> parse(std::string_view pattern, const RegexOptions& options, const Limits& limits,
                     Fuel& fuel) {
  if (pattern.size() > limits.regex_bytes) {
    return limit_exceeded("regex_bytes", static_cast<double>(pattern.size()),
                          static_cast<double>(limits.regex_bytes));
  }
  return Parser(pattern, options, limits, fuel).run();
}

}  // namespace treadle::regex
