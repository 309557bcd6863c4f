#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>

#include "grammar/front/tag_format.h"
#include "grammar/ir/node.h"

namespace treadle::tag {
namespace {

using json::Value;
using Names = std::initializer_list<std::string_view>;

constexpr uint32_t kMaxCount = 0x7FFFFFFF;

// Formats that the language has but this engine does not lower.
constexpr std::array<std::string_view, 7> kUnsupported = {
    "dispatch",          "token",          "exclude_token",
    "any_tokens",        "token_dispatch", "token_triggered_tags",
    "qwen_xml_parameter"};

class Reader {
 public:
  explicit Reader(const Limits& limits) : limits_(limits) {}

  Result<std::vector<Format>> run(const Value& source) {
    Value root = source;
    if (!root.is_object()) return mismatch(root, "an object");
    if (Value type = root.get("type");
        type && type.is_string() && type.text() == "structural_tag") {
      if (!only(root, {"format"})) return status_;
      root = root.get("format");
      if (!root) return syntax_error(source.pointer() + "/format", "missing; give the format");
    }
    add(root, kNoFormat, false);
    for (uint32_t i = 0; i < out_.size(); ++i) {
      if (!read(i)) return status_;
    }
    return std::move(out_);
  }

 private:
  // --- errors ---

  bool fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
    return false;
  }
  Status mismatch(const Value& v, const char* wanted) {
    return syntax_error(v.pointer(), "expected " + std::string(wanted) + ", got " +
                                         std::string(json::kind_name(v.kind())));
  }
  bool wrong(const Value& v, const char* wanted) { return fail(mismatch(v, wanted)); }
  bool missing(const Value& object, std::string_view field) {
    std::string name(field);
    return fail(syntax_error(object.pointer() + "/" + name, "missing; give " + name));
  }

  // --- fields ---

  bool only(const Value& object, Names fields) {
    for (Value member : object) {
      std::string_view key = member.key();
      if (key == "type" || std::find(fields.begin(), fields.end(), key) != fields.end()) continue;
      return fail(syntax_error(member.pointer(), "unknown field; remove it", std::string(key)));
    }
    return true;
  }

  bool text(const Value& object, std::string_view field, std::string& out) {
    Value v = object.get(field);
    if (!v) return missing(object, field);
    if (v.is_object()) {
      return fail(unsupported(v.pointer(), "token terminals are not supported; give a string",
                              std::string(field)));
    }
    if (!v.is_string()) return wrong(v, "a string");
    out = v.text();
    return true;
  }

  bool flag(const Value& object, std::string_view field, bool& out) {
    Value v = object.get(field);
    if (!v) return true;
    if (!v.is_boolean()) return wrong(v, "true or false");
    out = v.truth();
    return true;
  }

  bool integer(const Value& v, uint32_t& out) {
    if (!v.is_number()) return wrong(v, "a number");
    uint64_t wide = 0;
    for (char c : v.text()) {
      if (c < '0' || c > '9' || wide > kMaxCount) {
        return fail(syntax_error(v.pointer(), "expected a whole number from 0 to 2147483647"));
      }
      wide = wide * 10 + static_cast<uint64_t>(c - '0');
    }
    if (wide > kMaxCount) {
      return fail(syntax_error(v.pointer(), "expected a whole number from 0 to 2147483647"));
    }
    out = static_cast<uint32_t>(wide);
    return true;
  }

  // A list of non-empty strings; absent counts as empty.
  bool strings(const Value& object, std::string_view field, std::vector<std::string>& out) {
    Value v = object.get(field);
    if (!v) return true;
    if (!v.is_array()) return wrong(v, "a list of strings");
    for (Value item : v) {
      if (item.is_object()) {
        return fail(unsupported(item.pointer(), "token terminals are not supported; use a string",
                                std::string(field)));
      }
      if (!item.is_string()) return wrong(item, "a string");
      if (item.text().empty()) {
        return fail(syntax_error(item.pointer(), "an empty string; leave it out"));
      }
      out.emplace_back(item.text());
    }
    return true;
  }

  // A field of a later release: only its default, null or an empty list, is accepted.
  bool absent(const Value& object, std::string_view field) {
    Value v = object.get(field);
    if (!v || v.is_null() || (v.is_array() && v.size() == 0)) return true;
    return fail(unsupported(v.pointer(), "not supported; leave it out", std::string(field)));
  }

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
    if (!content) return missing(object, "content");
    uint32_t made = add(content, enclosing, false);
    out_[index].children.push_back(made);
    return true;
  }

  bool children(uint32_t index, std::string_view field, bool tags) {
    Value object = out_[index].at;
    Value list = object.get(field);
    if (!list) return missing(object, field);
    if (!list.is_array()) return wrong(list, "a list of formats");
    if (list.size() == 0) return fail(syntax_error(list.pointer(), "empty; give at least one"));
    for (Value item : list) {
      uint32_t made = add(item, out_[index].enclosing, tags);
      out_[index].children.push_back(made);
    }
    return true;
  }

  // --- formats ---

  bool read(uint32_t i) {
    Value v = out_[i].at;
    if (!v.is_object()) return wrong(v, "a format object");
    Value type = v.get("type");
    if (!type && out_[i].type != Type::tag) return missing(v, "type");
    if (type && !type.is_string()) return wrong(type, "a string");
    std::string_view name = type ? type.text() : "tag";
    if (out_[i].type == Type::tag && name != "tag") {
      return fail(syntax_error(type.pointer(), "this list holds tags only; use type tag"));
    }
    if (name == "const_string") return literal(i, Type::const_string, "value");
    if (name == "regex") return literal(i, Type::regex, "pattern");
    if (name == "grammar") return literal(i, Type::grammar, "grammar");
    if (name == "json_schema") return schema(i);
    if (name == "any_text") return any_text(i);
    if (name == "sequence") return list(i, Type::sequence);
    if (name == "or") return list(i, Type::choice);
    if (name == "optional") return counted(i, 0, 1);
    if (name == "plus") return counted(i, 1, kOpen);
    if (name == "star") return counted(i, 0, kOpen);
    if (name == "repeat") return repeat(i);
    if (name == "tag") return tag(i);
    if (name == "triggered_tags") return triggered(i);
    if (name == "tags_with_separator") return separated(i);
    bool later = std::find(kUnsupported.begin(), kUnsupported.end(), name) != kUnsupported.end();
    if (later) {
      return fail(unsupported(type.pointer(),
                              "format " + std::string(name) + " is not supported; use text formats",
                              std::string(name)));
    }
    return fail(syntax_error(type.pointer(), "unknown format; see the list of formats"));
  }

  bool literal(uint32_t i, Type type, std::string_view field) {
    Format& f = out_[i];
    f.type = type;
    return only(f.at, {field}) && text(f.at, field, f.text);
  }

  bool schema(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::json_schema;
    if (!only(f.at, {"json_schema", "style", "any_order", "max_whitespace_cnt", "excludes"})) {
      return false;
    }
    f.schema = f.at.get("json_schema");
    if (!f.schema) return missing(f.at, "json_schema");
    if (Value style = f.at.get("style"); style) {
      if (!style.is_string()) return wrong(style, "a string");
      if (style.text() != "json") {
        return fail(unsupported(style.pointer(), "only style json is supported; use it", "style"));
      }
    }
    f.whitespace = static_cast<uint32_t>(limits_.whitespace);
    Value space = f.at.get("max_whitespace_cnt");
    if (space && !space.is_null() && !integer(space, f.whitespace)) return false;
    return absent(f.at, "excludes") && flag(f.at, "any_order", f.any_order);
  }

  bool any_text(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::any_text;
    return only(f.at, {"excludes", "max_tokens", "max_chars"}) && absent(f.at, "max_tokens") &&
           absent(f.at, "max_chars") && strings(f.at, "excludes", f.excludes);
  }

  bool list(uint32_t i, Type type) {
    out_[i].type = type;
    return only(out_[i].at, {"elements"}) && children(i, "elements", false);
  }

  bool counted(uint32_t i, uint32_t lo, uint32_t hi) {
    out_[i].type = Type::repeat;
    out_[i].lo = lo;
    out_[i].hi = hi;
    return only(out_[i].at, {"content"}) && child(i, out_[i].enclosing);
  }

  bool repeat(uint32_t i) {
    Value v = out_[i].at;
    if (!only(v, {"content", "min", "max"})) return false;
    Value min = v.get("min");
    Value max = v.get("max");
    if (!min) return missing(v, "min");
    if (!max) return missing(v, "max");
    Format& f = out_[i];
    f.type = Type::repeat;
    f.hi = kOpen;
    bool open = max.is_number() && max.text() == "-1";
    if (!integer(min, f.lo) || (!open && !integer(max, f.hi))) return false;
    if (f.lo > f.hi) return fail(syntax_error(max.pointer(), "max is below min; swap them"));
    return child(i, f.enclosing);
  }

  bool tag(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::tag;
    if (!only(f.at, {"begin", "content", "end"}) || !text(f.at, "begin", f.text)) return false;
    Value end = f.at.get("end");
    if (!end) return missing(f.at, "end");
    if (end.is_array()) {
      if (end.size() == 0) return fail(syntax_error(end.pointer(), "empty; give at least one"));
      if (!strings(f.at, "end", f.ends)) return false;
    } else {
      f.ends.emplace_back();
      if (!text(f.at, "end", f.ends.back())) return false;
    }
    return child(i, i);
  }

  bool triggered(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::triggered_tags;
    if (!only(f.at, {"triggers", "tags", "at_least_one", "stop_after_first", "excludes"}) ||
        !flag(f.at, "at_least_one", f.at_least_one) ||
        !flag(f.at, "stop_after_first", f.stop_after_first) ||
        !strings(f.at, "triggers", f.triggers) || !strings(f.at, "excludes", f.excludes)) {
      return false;
    }
    if (f.triggers.empty()) return missing(f.at, "triggers");
    return check_triggers(f) && children(i, "tags", true);
  }

  bool check_triggers(const Format& f) {
    Value list = f.at.get("triggers");
    for (size_t a = 0; a < f.triggers.size(); ++a) {
      for (size_t b = 0; b < f.triggers.size(); ++b) {
        if (a == b || !f.triggers[b].starts_with(f.triggers[a])) continue;
        return fail(syntax_error(list.pointer() + "/" + std::to_string(a),
                                 "this trigger begins another one; keep the shorter one only"));
      }
      for (size_t b = 0; b < f.excludes.size(); ++b) {
        if (f.triggers[a].find(f.excludes[b]) == std::string::npos) continue;
        return fail(syntax_error(f.at.pointer() + "/excludes/" + std::to_string(b),
                                 "excluded text within a trigger; no tag could begin"));
      }
    }
    return true;
  }

  bool separated(uint32_t i) {
    Format& f = out_[i];
    f.type = Type::tags_with_separator;
    return only(f.at, {"tags", "separator", "at_least_one", "stop_after_first"}) &&
           flag(f.at, "at_least_one", f.at_least_one) &&
           flag(f.at, "stop_after_first", f.stop_after_first) && text(f.at, "separator", f.text) &&
           children(i, "tags", true);
  }

  const Limits& limits_;
  std::vector<Format> out_;
  Status status_;
};

}  // namespace

Result<std::vector<Format>> read_formats(const Value& tag, const Limits& limits) {
  return Reader(limits).run(tag);
}

}  // namespace treadle::tag
