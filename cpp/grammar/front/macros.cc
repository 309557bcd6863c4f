#include "grammar/front/macros.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "grammar/front/dispatch.h"
#include "grammar/front/regex.h"
#include "grammar/front/substring.h"
#include "grammar/typed/str.h"

namespace treadle::ebnf {
namespace {

constexpr unsigned kDeepest = 3;  // lists within the argument list

// What follows the value that began with argument.at is left in `token`.
bool read_list(Lexer& lexer, std::vector<Argument>& out, unsigned depth);

bool read_value(Lexer& lexer, Argument& argument, Token& token, unsigned depth) {
  argument.is_list = argument.at.kind == Tok::open && !argument.at.look;
  if (argument.is_list) {
    return read_list(lexer, argument.items, depth + 1) && lexer.next(token);
  }
  if (argument.at.kind != Tok::literal && argument.at.kind != Tok::name) {
    return lexer.fail_at(Reason::syntax, "an argument is a text, a word or a list in brackets",
                         argument.at);
  }
  if (!lexer.next(token)) return false;
  bool named = argument.at.kind == Tok::name && token.kind == Tok::equals && argument.name.empty();
  if (!named) return true;
  argument.name = argument.at.text;
  return lexer.next(argument.at) && read_value(lexer, argument, token, depth);
}

// Up to and with the closing bracket.
bool read_list(Lexer& lexer, std::vector<Argument>& out, unsigned depth) {
  Token token;
  if (!lexer.next(token)) return false;
  if (depth > kDeepest) return lexer.fail_at(Reason::syntax, "lists nest too deeply", token);
  while (token.kind != Tok::close) {
    Argument argument;
    argument.at = std::move(token);
    if (!read_value(lexer, argument, token, depth)) return false;
    out.push_back(std::move(argument));
    if (token.kind == Tok::comma) {
      if (!lexer.next(token)) return false;
    } else if (token.kind != Tok::close) {
      return lexer.fail_at(Reason::syntax, "expected , or ) after an argument", token);
    }
  }
  return true;
}

class Macro {
 public:
  Macro(Lexer& lexer, const Token& macro, Store& store, const Limits& limits,
        const std::function<NodeRef(const Token&)>& rule)
      : lexer_(lexer), macro_(macro), store_(store), limits_(limits), rule_(rule) {}

  bool run(NodeRef& out) {
    if (!read_list(lexer_, arguments_, 0)) return false;
    if (macro_.text == "Regex") return regex(out);
    if (macro_.text == "Substring") return pieces(out);
    if (macro_.text == "Bytes") return bytes(out);
    if (macro_.text == "TagDispatch") return tags(out);
    return macro_.text == "TokenTagDispatch" ? token_tags(out) : tokens(out);
  }

 private:
  bool wrong(const char* usage) {
    return lexer_.fail_at(Reason::syntax, "malformed macro; write " + std::string(usage), macro_);
  }

  bool take(Result<NodeRef> made, NodeRef& out) {
    if (made.ok()) {
      out = *made;
      return true;
    }
    lexer_.status = made.status();
    std::string at = place(macro_.line, macro_.column);
    lexer_.status.at = lexer_.status.at.empty() ? at : at + " " + lexer_.status.at;
    return false;
  }

  static bool truth(const Argument& argument, bool& value) {
    value = argument.at.text == "true";
    return argument.is_word() && (value || argument.at.text == "false");
  }

  // Anchors and lookaround in the pattern speak of the macro's own text.
  bool regex(NodeRef& out) {
    const char* usage = "Regex(\"pattern\", json_string=false, flags=\"is\")";
    bool lifted = false;
    std::string flags;
    bool good = !arguments_.empty() && arguments_[0].is_text() && arguments_[0].name.empty();
    for (size_t i = 1; good && i < arguments_.size(); ++i) {
      const Argument& argument = arguments_[i];
      good = argument.name == "json_string" ? truth(argument, lifted)
                                            : argument.name == "flags" && argument.is_text();
      if (good && argument.name == "flags") flags = argument.at.text;
    }
    if (!good) return wrong(usage);
    Result<RegexOptions> options = regex_flags(flags);
    if (!options.ok()) return take(options.status(), out);
    if (!take(parse_regex(store_, arguments_[0].at.text, *options, limits_), out)) return false;
    if (lifted) out = string_content(store_, out);
    return true;
  }

  bool texts(const std::vector<Argument>& from, std::vector<std::string_view>& out) {
    for (const Argument& argument : from) {
      if (!argument.is_text() || !argument.name.empty()) return false;
      out.push_back(argument.at.text);
    }
    return true;
  }

  bool pieces(NodeRef& out) {
    std::vector<std::string_view> chunks;
    if (!texts(arguments_, chunks)) return wrong("Substring(\"first\", \"second\", ...)");
    out = substring(store_, chunks);
    return true;
  }

  // Bytes("80-BF C3"): one byte of these ranges, in hexadecimal.
  bool bytes(NodeRef& out) {
    const char* usage = "Bytes(\"80-BF C3\"), two hexadecimal digits a byte";
    if (arguments_.size() != 1 || !arguments_[0].is_text()) return wrong(usage);
    std::string_view text = arguments_[0].at.text;
    ByteSet set;
    auto byte = [&](uint8_t& value) {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      size_t high = text.empty() ? std::string_view::npos : kDigits.find(text[0]);
      size_t low = text.size() < 2 ? std::string_view::npos : kDigits.find(text[1]);
      if (high == std::string_view::npos || low == std::string_view::npos) return false;
      value = static_cast<uint8_t>(high * 16 + low);
      text.remove_prefix(2);
      return true;
    };
    while (true) {
      uint8_t lo = 0;
      if (!byte(lo)) return wrong(usage);
      uint8_t hi = lo;
      if (text.starts_with('-')) {
        text.remove_prefix(1);
        if (!byte(hi)) return wrong(usage);
      }
      if (hi < lo) return wrong(usage);
      set |= ByteSet::range(lo, hi);
      if (text.empty()) break;
      if (!text.starts_with(' ')) return wrong(usage);
      text.remove_prefix(1);
    }
    out = store_.byte_set(set);
    return true;
  }

  bool tags(NodeRef& out) {
    const char* usage =
        "TagDispatch((\"trigger\", rule), ..., loop_after_dispatch=true, excludes=(\"text\", ...))";
    std::vector<Trigger> triggers;
    std::vector<std::string_view> excludes;
    bool loop = true;
    for (const Argument& argument : arguments_) {
      bool good = false;
      if (argument.name == "loop_after_dispatch") {
        good = truth(argument, loop);
      } else if (argument.name == "excludes") {
        good = argument.is_list && texts(argument.items, excludes);
      } else if (argument.name.empty() && argument.is_list && argument.items.size() == 2) {
        const Argument& text = argument.items[0];
        const Argument& name = argument.items[1];
        good = text.is_text() && !text.at.text.empty() && name.is_word();
        if (good) triggers.push_back({text.at.text, rule_(name.at)});
      }
      if (!good) return wrong(usage);
    }
    if (std::find(excludes.begin(), excludes.end(), "") != excludes.end()) return wrong(usage);
    if (!apart(triggers, excludes)) return false;
    out = dispatch(store_, triggers, excludes, loop);
    return true;
  }

  // A trigger that begins with another one, or with an exclude, would never be reached.
  bool apart(const std::vector<Trigger>& triggers, const std::vector<std::string_view>& excludes) {
    std::vector<std::string_view> words;
    for (const Trigger& trigger : triggers) words.push_back(trigger.text);
    std::sort(words.begin(), words.end());  // a prefix comes right before what begins with it
    for (size_t i = 0; i + 1 < words.size(); ++i) {
      if (words[i + 1].starts_with(words[i])) return unreachable(words[i + 1], words[i]);
    }
    for (std::string_view exclude : excludes) {
      auto at = std::lower_bound(words.begin(), words.end(), exclude);
      if (at != words.end() && at->starts_with(exclude)) return unreachable(*at, exclude);
    }
    return true;
  }

  bool unreachable(std::string_view trigger, std::string_view prefix) {
    return lexer_.fail_at(Reason::unsupported,
                          "trigger " + std::string(trigger) + " begins with " +
                              std::string(prefix) + "; join the two rules, or drop one",
                          macro_);
  }

  // An id, or the text of a token in quotes.
  static bool token(const Argument& argument, TokenSet& set) {
    const std::string& text = argument.at.text;
    if (argument.is_list || !argument.name.empty() || text.empty()) return false;
    if (argument.is_text()) {
      set.names.push_back(text);
      return true;
    }
    uint32_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    set.ids.push_back(id);
    return error == std::errc() && end == text.data() + text.size();
  }

  bool tokens(NodeRef& out) {
    TokenSet set;
    set.negated = macro_.text == "ExcludeToken";
    bool good = set.negated || !arguments_.empty();
    for (const Argument& argument : arguments_) good = good && token(argument, set);
    if (!good)
      return wrong((macro_.text + "(1, \"<name>\", ...), ids and texts of tokens").c_str());
    out = store_.tokens(std::move(set));
    return true;
  }

  // Any tokens until one that triggers a rule.
  bool token_tags(NodeRef& out) {
    const char* usage =
        "TokenTagDispatch((1, rule), ..., loop_after_dispatch=true, excludes=(2, \"<name>\"))";
    TokenSet barred;
    barred.negated = true;
    std::vector<NodeRef> rounds;
    bool loop = true;
    for (const Argument& argument : arguments_) {
      bool good = false;
      if (argument.name == "loop_after_dispatch") {
        good = truth(argument, loop);
      } else if (argument.name == "excludes") {
        good = argument.is_list;
        for (const Argument& item : argument.items) good = good && token(item, barred);
      } else if (argument.name.empty() && argument.is_list && argument.items.size() == 2) {
        TokenSet trigger;
        good = token(argument.items[0], trigger) && argument.items[1].is_word();
        if (good && !token(argument.items[0], barred)) good = false;
        if (good) {
          rounds.push_back(store_.cat(store_.tokens(trigger), rule_(argument.items[1].at)));
        }
      }
      if (!good) return wrong(usage);
    }
    const NodeRef text = store_.star(store_.tokens(std::move(barred)));
    const NodeRef tags = store_.any_of(rounds);
    out = loop ? store_.cat(text, store_.star(store_.cat(tags, text)))
               : store_.cat(text, store_.optional(tags));
    return true;
  }

  Lexer& lexer_;
  const Token& macro_;
  Store& store_;
  const Limits& limits_;
  const std::function<NodeRef(const Token&)>& rule_;
  std::vector<Argument> arguments_;
};

}  // namespace

bool read_macro(Lexer& lexer, const Token& macro, Store& store, const Limits& limits,
                const std::function<NodeRef(const Token&)>& rule, NodeRef& out) {
  return Macro(lexer, macro, store, limits, rule).run(out);
}

}  // namespace treadle::ebnf
