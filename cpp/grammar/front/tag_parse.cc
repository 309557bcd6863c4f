#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

#include "grammar/front/styles.h"
#include "grammar/front/tag_fields.h"
#include "grammar/front/tag_format.h"
#include "grammar/ir/node.h"

namespace treadle::tag {
namespace {

class Reader {
 public:
  explicit Reader(const Limits& limits) : limits_(limits) {}

  Result<Formats> run(const Value& source) {
    Value root = source;
    if (!root.is_object()) {
      in_.wrong(root, "an object");
      return in_.status();
    }
    if (Value type = root.get("type");
        type && type.is_string() && type.text() == "structural_tag") {
      if (!in_.only(root, {"format"})) return in_.status();
      root = root.get("format");
      if (!root) return syntax_error(source.pointer() + "/format", "missing; give the format");
    }
    add(root, kNoFormat, false);
    for (uint32_t i = 0; i < out_.size(); ++i) {
      if (!read(i)) return in_.status();
    }
    return std::move(out_);
  }

 private:
  uint32_t add(const Value& v, uint32_t enclosing, bool is_tag) {
    Format f;
    f.at = v;
    f.enclosing = enclosing;
    f.type = is_tag ? Type::tag : Type::const_string;
    out_.push_back(std::move(f));
    return static_cast<uint32_t>(out_.size() - 1);
  }

  bool child(uint32_t index, uint32_t enclosing) {
    Value object = out_[index].at;
    Value content = object.get("content");
    if (!content) return in_.missing(object, "content");
    uint32_t made = add(content, enclosing, false);
    out_[index].children.push_back(made);
    return true;
  }

  bool children(uint32_t index, std::string_view field, bool tags) {
    Value object = out_[index].at;
    Value list = object.get(field);
    if (!list) return in_.missing(object, field);
    if (!list.is_array()) return in_.wrong(list, "a list of formats");
    if (list.size() == 0) return in_.fail(syntax_error(list.pointer(), "empty; give at least one"));
    for (Value item : list) {
      uint32_t made = add(item, out_[index].enclosing, tags);
      out_[index].children.push_back(made);
    }
    return true;
  }

  bool read(uint32_t i) {
    using Read = bool (Reader::*)(uint32_t);
    static constexpr std::pair<std::string_view, Read> kFormats[] = {
        {"const_string", &Reader::const_string},
        {"regex", &Reader::regex},
        {"grammar", &Reader::grammar},
        {"json_schema", &Reader::schema},
        {"qwen_xml_parameter", &Reader::qwen_schema},
        {"any_text", &Reader::any_text},
        {"sequence", &Reader::sequence},
        {"or", &Reader::choice},
        {"optional", &Reader::optional},
        {"plus", &Reader::plus},
        {"star", &Reader::star},
        {"repeat", &Reader::repeat},
        {"tag", &Reader::tag},
        {"triggered_tags", &Reader::triggered},
        {"tags_with_separator", &Reader::separated},
        {"dispatch", &Reader::dispatch},
        {"token", &Reader::token},
        {"exclude_token", &Reader::exclude_token},
        {"any_tokens", &Reader::any_tokens},
        {"token_triggered_tags", &Reader::token_triggered},
        {"token_dispatch", &Reader::token_dispatch},
    };
    Value v = out_[i].at;
    if (!v.is_object()) return in_.wrong(v, "a format object");
    Value type = v.get("type");
    const bool is_tag = out_[i].type == Type::tag;
    if (!type && !is_tag) return in_.missing(v, "type");
    if (type && !type.is_string()) return in_.wrong(type, "a string");
    std::string_view name = type ? type.text() : "tag";
    if (is_tag && name != "tag") {
      return in_.fail(syntax_error(type.pointer(), "this list holds tags only; use type tag"));
    }
    for (const auto& [known, reader] : kFormats) {
      if (known == name) return (this->*reader)(i);
    }
    return in_.fail(syntax_error(type.pointer(), "unknown format; see the list of formats"));
  }

  bool literal(uint32_t i, Type type, std::string_view field) {
    Format& f = out_[i];
    f.type = type;
    return in_.only(f.at, {field}) && in_.text(f.at, field, f.text);
  }
  bool const_string(uint32_t i) { return literal(i, Type::const_string, "value"); }
  bool regex(uint32_t i) { return literal(i, Type::regex, "pattern"); }
  bool grammar(uint32_t i) { return literal(i, Type::grammar, "grammar"); }

  bool schema(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::json_schema;
    if (!in_.only(f.at, {"json_schema", "style", "any_order", "max_whitespace_cnt", "excludes"})) {
      return false;
    }
    if (Value style = f.at.get("style"); style) {
      if (!style.is_string()) return in_.wrong(style, "a string");
      f.style = find_style(style.text());
      if (f.style == nullptr && style.text() != "json") {
        return in_.fail(syntax_error(style.pointer(), "unknown style; see the list of styles"));
      }
    }
    return schema_body(f);
  }

  bool qwen_schema(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::json_schema;
    f.style = find_style("qwen_xml");
    return in_.only(f.at, {"json_schema", "any_order", "max_whitespace_cnt", "excludes"}) &&
           schema_body(f);
  }

  bool schema_body(Format& f) {
    f.schema = f.at.get("json_schema");
    if (!f.schema) return in_.missing(f.at, "json_schema");
    f.whitespace = static_cast<uint32_t>(limits_.whitespace);
    return in_.bound(f.at, "max_whitespace_cnt", f.whitespace) &&
           in_.strings(f.at, "excludes", f.lists().excludes) &&
           in_.flag(f.at, "any_order", f.any_order);
  }

  bool any_text(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::any_text;
    f.hi = kOpen;
    if (!in_.only(f.at, {"excludes", "max_tokens", "max_chars"})) return false;
    if (!in_.bound(f.at, "max_tokens", f.max_tokens)) return false;
    if (!in_.bound(f.at, "max_chars", f.hi)) return false;
    return !f.at.get("excludes") || in_.strings(f.at, "excludes", f.lists().excludes);
  }

  bool list(uint32_t i, Type type) {
    out_[i].type = type;
    return in_.only(out_[i].at, {"elements"}) && children(i, "elements", false);
  }
  bool sequence(uint32_t i) { return list(i, Type::sequence); }
  bool choice(uint32_t i) { return list(i, Type::choice); }

  bool counted(uint32_t i, uint32_t lo, uint32_t hi) {
    out_[i].type = Type::repeat;
    out_[i].lo = lo;
    out_[i].hi = hi;
    return in_.only(out_[i].at, {"content"}) && child(i, out_[i].enclosing);
  }
  bool optional(uint32_t i) { return counted(i, 0, 1); }
  bool plus(uint32_t i) { return counted(i, 1, kOpen); }
  bool star(uint32_t i) { return counted(i, 0, kOpen); }

  bool repeat(uint32_t i) {
    Value v = out_[i].at;
    if (!in_.only(v, {"content", "min", "max"})) return false;
    Value min = v.get("min");
    Value max = v.get("max");
    if (!min) return in_.missing(v, "min");
    if (!max) return in_.missing(v, "max");
    Format& f = out_[i];
    f.type = Type::repeat;
    f.hi = kOpen;
    bool open = max.is_number() && max.text() == "-1";
    if (!in_.integer(min, f.lo) || (!open && !in_.integer(max, f.hi))) return false;
    if (f.lo > f.hi) return in_.fail(syntax_error(max.pointer(), "max is below min; swap them"));
    return child(i, f.enclosing);
  }

  bool tag(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::tag;
    if (!in_.only(f.at, {"begin", "content", "end"})) return false;
    Value begin = f.at.get("begin");
    if (!begin) return in_.missing(f.at, "begin");
    if (!in_.mark(begin, f.begin)) return false;
    Value end = f.at.get("end");
    if (!end) return in_.missing(f.at, "end");
    if (end.is_array()) {
      if (end.size() == 0) return in_.fail(syntax_error(end.pointer(), "empty; give at least one"));
      for (Value item : end) {
        f.ends.emplace_back();
        if (!in_.mark(item, f.ends.back())) return false;
        if (f.ends.back().is_token || !f.ends.back().text.empty()) continue;
        return in_.fail(syntax_error(item.pointer(), "an empty string; leave it out"));
      }
    } else {
      f.ends.emplace_back();
      if (!in_.mark(end, f.ends.back())) return false;
    }
    return child(i, i);
  }

  bool triggered(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::triggered_tags;
    if (!in_.only(f.at, {"triggers", "tags", "at_least_one", "stop_after_first", "excludes"}) ||
        !in_.flag(f.at, "at_least_one", f.at_least_one) ||
        !in_.flag(f.at, "stop_after_first", f.stop_after_first) ||
        !in_.strings(f.at, "triggers", f.lists().triggers) ||
        !in_.strings(f.at, "excludes", f.lists().excludes)) {
      return false;
    }
    if (f.lists().triggers.empty()) return in_.missing(f.at, "triggers");
    return children(i, "tags", true);
  }

  bool separated(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::tags_with_separator;
    return in_.only(f.at, {"tags", "separator", "at_least_one", "stop_after_first"}) &&
           in_.flag(f.at, "at_least_one", f.at_least_one) &&
           in_.flag(f.at, "stop_after_first", f.stop_after_first) &&
           in_.text(f.at, "separator", f.text) && children(i, "tags", true);
  }

  // [[pattern or token, format], ...]; `take` reads the first of each pair.
  template <class Take>
  bool rules(uint32_t i, Take take) {
    Value object = out_[i].at;
    Value list = object.get("rules");
    if (!list) return in_.missing(object, "rules");
    if (!list.is_array()) return in_.wrong(list, "a list of rules");
    if (list.size() == 0) return in_.fail(syntax_error(list.pointer(), "empty; give at least one"));
    for (Value rule : list) {
      if (!rule.is_array()) return in_.wrong(rule, "a pair: what to look for, a format");
      if (rule.size() != 2) {
        return in_.fail(
            syntax_error(rule.pointer(), "expected a pair: what to look for, a format"));
      }
      if (!take(rule.first())) return false;
      uint32_t made = add(rule.first().next(), out_[i].enclosing, false);
      out_[i].children.push_back(made);
    }
    return true;
  }

  bool dispatch(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::dispatch;
    bool loop = true;
    if (!in_.only(f.at, {"rules", "loop", "excludes"}) || !in_.flag(f.at, "loop", loop) ||
        !in_.strings(f.at, "excludes", f.lists().excludes)) {
      return false;
    }
    f.stop_after_first = !loop;
    return rules(i, [&](const Value& pattern) {
      if (!pattern.is_string()) return in_.wrong(pattern, "a string");
      if (pattern.text().empty()) {
        return in_.fail(syntax_error(pattern.pointer(), "an empty pattern is everywhere"));
      }
      out_[i].lists().triggers.emplace_back(pattern.text());
      return true;
    });
  }

  // --- tokens ---

  bool excluded(const Value& object, TokenSet& out) {
    std::vector<Token> list;
    if (!in_.tokens(object, "exclude_tokens", list)) return false;
    for (const Token& token : list) add_token(out, token);
    out.negated = true;
    return true;
  }

  bool token(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::token;
    f.lo = f.hi = 1;
    Mark mark;
    if (!in_.mark(f.at, mark)) return false;
    add_token(f.lists().tokens, mark.token);
    return true;
  }

  bool exclude_token(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::token;
    f.lo = f.hi = 1;
    return in_.only(f.at, {"exclude_tokens"}) && excluded(f.at, f.lists().tokens);
  }

  bool any_tokens(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::token;
    f.hi = kOpen;
    return in_.only(f.at, {"exclude_tokens", "max_tokens"}) &&
           in_.bound(f.at, "max_tokens", f.hi) && excluded(f.at, f.lists().tokens);
  }

  bool token_triggered(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::token_triggered_tags;
    if (!in_.only(f.at, {"trigger_tokens", "tags", "exclude_tokens", "at_least_one",
                         "stop_after_first"}) ||
        !in_.flag(f.at, "at_least_one", f.at_least_one) ||
        !in_.flag(f.at, "stop_after_first", f.stop_after_first) ||
        !in_.tokens(f.at, "trigger_tokens", f.lists().trigger_tokens) ||
        !excluded(f.at, f.lists().tokens)) {
      return false;
    }
    if (f.lists().trigger_tokens.empty()) return in_.missing(f.at, "trigger_tokens");
    return children(i, "tags", true);
  }

  bool token_dispatch(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::token_dispatch;
    bool loop = true;
    if (!in_.only(f.at, {"rules", "loop", "exclude_tokens"}) || !in_.flag(f.at, "loop", loop) ||
        !excluded(f.at, f.lists().tokens)) {
      return false;
    }
    f.stop_after_first = !loop;
    return rules(i, [&](const Value& which) {
      Token token;
      if (!in_.token(which, token)) return false;
      out_[i].lists().trigger_tokens.push_back(std::move(token));
      return true;
    });
  }

  const Limits& limits_;
  Fields in_;
  Formats out_;
};

}  // namespace

Result<Formats> read_formats(const Value& tag, const Limits& limits) {
  return Reader(limits).run(tag);
}

}  // namespace treadle::tag
