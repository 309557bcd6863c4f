#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/front/choice.h"
#include "grammar/front/dispatch.h"
#include "grammar/front/ebnf.h"
#include "grammar/front/fuel_scope.h"
#include "grammar/front/regex.h"
#include "grammar/front/special_text.h"
#include "grammar/front/tag.h"
#include "grammar/front/tag_fields.h"
#include "grammar/front/tag_format.h"
#include "grammar/front/tag_trigger.h"
#include "grammar/typed/common.h"
#include "grammar/typed/dispatch.h"

namespace treadle::tag {
namespace {

constexpr uint64_t kFormatCost = 50;  // fuel for reading, lowering and interning one

// Lowers formats from the last to the first, so that children are ready before their parents.
class Lowering {
 public:
  Lowering(Store& store, const Formats& formats, const Limits& limits, Notes& notes,
           RuleMarks* marks, Fuel& fuel)
      : store_(store),
        formats_(formats),
        limits_(limits),
        notes_(notes),
        marks_(marks),
        fuel_(fuel) {}

  Result<NodeRef> run() {
    // At once: too many formats are refused before any of them is built.
    if (!fuel_.spend(kFormatCost * formats_.size())) return fuel_.status();
    nodes_.resize(formats_.size());
    for (size_t i = formats_.size(); i-- > 0;) {
      Result<NodeRef> node = lower(formats_[i]);
      if (!node.ok()) return node;
      if (!store_.ok()) return store_.fault();
      nodes_[i] = *node;
    }
    return nodes_[0];
  }

 private:
  // What begins with a trigger: its text and what follows.
  using Entries = std::vector<ChoiceEntry>;

  Result<NodeRef> lower(const Format& f) {
    switch (f.type) {
      case Type::const_string:
        return literal(store_, f.text);
      case Type::regex:
        return placed(f, "pattern", parse_regex(store_, f.text, RegexOptions{}, limits_));
      case Type::grammar:
        return placed(f, "grammar", parse_ebnf(store_, f.text, "root", limits_, marks_));
      case Type::json_schema:
        return schema(f);
      case Type::any_text:
        return any_text(f);
      case Type::sequence:
        return store_.concat(parts(f));
      case Type::choice:
        return store_.any_of(parts(f));
      case Type::repeat:
        return store_.repeat(nodes_[f.children[0]], f.lo, f.hi);
      case Type::tag:
        return store_.cat(mark(f.begin), after_begin(f));
      case Type::triggered_tags:
        return triggered(f);
      case Type::tags_with_separator:
        return separated(f);
      case Type::dispatch:
        return dispatched(f, rules_of(f));
      case Type::token:
        return store_.repeat(
            store_.tokens(f.lists().tokens.negated ? barred_tokens(f) : f.lists().tokens), f.lo,
            f.hi);
      case Type::token_triggered_tags:
        return token_triggered(f);
      case Type::token_dispatch:
        return token_dispatch(f);
    }
    return store_.empty();
  }

  // An error inside an embedded source stands at the pointer of that source.
  Result<NodeRef> placed(const Format& f, const char* field, Result<NodeRef> node) {
    if (node.ok()) return node;
    Status status = node.status();
    std::string at = f.at.pointer() + "/" + field;
    status.at = status.at.empty() ? at : at + " " + status.at;
    return status;
  }

  Result<NodeRef> schema(const Format& f) {
    SchemaOptions options;
    options.declared_order = !f.any_order;
    options.whitespace = f.whitespace;
    options.numbers = Spelling::plain;
    options.style = f.style;
    options.excludes = f.lists().excludes;
    options.begun = !std::exchange(begun_, true);
    make_scalars(store_, options.numbers);
    // Finding a pointer takes time: only what is said about the schema needs it.
    const size_t before = notes_.size();
    Result<NodeRef> node = parse_schema(store_, f.schema, options, limits_, notes_);
    if (node.ok() && notes_.size() == before) return node;
    const std::string at = f.schema.pointer();
    for (size_t i = before; i < notes_.size(); ++i) notes_[i].at.insert(0, at);
    if (node.ok()) return node;
    Status status = node.status();
    status.at.insert(0, at);
    return status;
  }

  NodeRef any_text(const Format& f) {
    const NodeRef counted = store_.repeat(store_.any_char(), 0, f.hi);
    const std::vector<std::string> words = barred(f, {});
    NodeRef text = free_text(store_, words);
    if (f.hi != kOpen) text = words.empty() ? counted : store_.both(counted, text);
    if (f.max_tokens == kOpen) return text;
    if (f.max_tokens == 0) return store_.eps();
    RuleOptions options;
    options.max_tokens = f.max_tokens;
    return shaped(store_, text, options, f.at.pointer(), marks_);
  }

  std::vector<NodeRef> parts(const Format& f) {
    std::vector<NodeRef> out;
    for (uint32_t child : f.children) out.push_back(nodes_[child]);
    return out;
  }

  NodeRef token(const Token& which) {
    TokenSet set;
    add_token(set, which);
    return store_.tokens(std::move(set));
  }

  NodeRef mark(const Mark& mark) {
    return mark.is_token ? token(mark.token) : literal(store_, mark.text);
  }

  NodeRef one_of(const std::vector<std::string>& words) {
    std::vector<std::string_view> views(words.begin(), words.end());
    return literal_trie(store_, views);
  }

  // What follows the begin of a tag.
  NodeRef after_begin(const Format& f) {
    std::vector<std::string_view> texts;
    std::vector<NodeRef> ends;
    for (const Mark& end : f.ends) {
      if (end.is_token) {
        ends.push_back(token(end.token));
      } else {
        texts.push_back(end.text);
      }
    }
    if (!texts.empty()) ends.push_back(literal_trie(store_, texts));
    ends.push_back(by_tokens(store_, ending_entries(texts)));
    return store_.cat(nodes_[f.children[0]], store_.any_of(ends));
  }

  Entries ending_entries(const std::vector<std::string_view>& texts) {
    Entries out;
    for (const std::string_view text : texts) out.push_back({text, store_.eps()});
    return out;
  }

  // What the enclosing tag ends with is barred from the free content right inside it.
  template <class Take>
  void enclosing_ends(const Format& f, Take take) {
    if (f.enclosing == kNoFormat) return;
    for (const Mark& end : formats_[f.enclosing].ends) take(end);
  }

  // What free text must not contain: excludes, triggers, the ends of the tag around it.
  std::vector<std::string> barred(const Format& f, const std::vector<std::string>& triggers) {
    std::vector<std::string> out = f.lists().excludes;
    out.insert(out.end(), triggers.begin(), triggers.end());
    enclosing_ends(f, [&](const Mark& end) {
      if (!end.is_token && !end.text.empty()) out.push_back(end.text);
    });
    return out;
  }

  TokenSet barred_tokens(const Format& f) {
    TokenSet out = f.lists().tokens;
    for (const Token& trigger : f.lists().trigger_tokens) add_token(out, trigger);
    enclosing_ends(f, [&](const Mark& end) {
      if (end.is_token) add_token(out, end.token);
    });
    return out;
  }

  // --- text ---

  Result<NodeRef> triggered(const Format& f) {
    const TriggerIndex index(f.lists().triggers);
    Entries entries;
    for (uint32_t child : f.children) {
      const Format& tag = formats_[child];
      if (tag.begin.is_token) {
        return syntax_error(tag.at.pointer() + "/begin",
                            "a token cannot begin with a trigger; use token_triggered_tags");
      }
      if (!index.of(tag.begin.text)) {
        return syntax_error(tag.at.pointer() + "/begin",
                            "begins with none of the triggers; add a trigger for it");
      }
      entries.push_back({tag.begin.text, after_begin(tag)});
    }
    return dispatched(f, std::move(entries));
  }

  Entries rules_of(const Format& f) {
    Entries entries;
    for (size_t i = 0; i < f.children.size(); ++i) {
      entries.push_back({f.lists().triggers[i], nodes_[f.children[i]]});
    }
    return entries;
  }

  // Free text until the first trigger in it, and then an entry that begins with that trigger.
  Result<NodeRef> dispatched(const Format& f, Entries entries) {
    if (const auto bad = bad_trigger(f.lists().triggers, f.lists().excludes, fuel_))
      return refused(f, *bad);
    const NodeRef text = free_text(store_, barred(f, f.lists().triggers));
    const bool overlap = may_overlap(f.lists().triggers, f.lists().excludes, fuel_);
    if (fuel_.exhausted()) return fuel_.status();
    // Special tokens are no text, so one of them within a trigger tells where it stands.
    const NodeRef marked = by_tokens(store_, entries);
    const NodeRef tags = store_.alt(trie(store_, entries), marked);
    if (f.at_least_one && f.stop_after_first) return tags;
    const NodeRef next =
        overlap ? store_.alt(first_triggers(f, text, entries), store_.cat(text, marked))
                : store_.cat(text, tags);
    if (f.stop_after_first) {
      return overlap ? store_.alt(text, next) : store_.cat(text, store_.optional(tags));
    }
    if (!overlap) {
      const NodeRef round = store_.cat(tags, text);
      return f.at_least_one ? store_.plus(round) : store_.cat(text, store_.star(round));
    }
    const NodeRef loop = store_.cat(store_.star(next), text);
    return f.at_least_one ? store_.cat(tags, loop) : loop;
  }

  Status refused(const Format& f, BadTrigger bad) {
    const bool rules = f.type == Type::dispatch;
    const std::string index = std::to_string(bad.index);
    if (bad.why == BadTrigger::Why::excluded_within) {
      return syntax_error(f.at.pointer() + "/excludes/" + index,
                          "excluded text within a trigger; no tag could begin");
    }
    return syntax_error(f.at.pointer() + (rules ? "/rules/" + index + "/0" : "/triggers/" + index),
                        "this trigger begins another one; keep the shorter one only");
  }

  // The same where triggers overlap: a text up to its first trigger is found by intersection, one
  // trigger at a time.
  NodeRef first_triggers(const Format& f, NodeRef text, const Entries& entries) {
    const NodeRef any = one_of(f.lists().triggers);
    const NodeRef barred_words = one_of(f.lists().excludes);
    const TriggerIndex index(f.lists().triggers);
    std::vector<Entries> rest(f.lists().triggers.size());
    for (const ChoiceEntry& entry : entries) {
      const size_t at = index.of(entry.text).value_or(0);  // each has one
      rest[at].push_back({entry.text.substr(f.lists().triggers[at].size()), entry.tail});
    }
    std::vector<NodeRef> out;
    for (size_t i = 0; i < f.lists().triggers.size() && store_.ok(); ++i) {
      const std::string& trigger = f.lists().triggers[i];
      const NodeRef until = up_to(store_, text, trigger, any, barred_words);
      out.push_back(store_.cat(until, trie(store_, std::move(rest[i]))));
    }
    return store_.any_of(out);
  }

  Result<NodeRef> separated(const Format& f) {
    Entries entries;
    std::vector<NodeRef> choices;
    for (uint32_t child : f.children) {
      const Format& tag = formats_[child];
      if (tag.begin.is_token) {
        choices.push_back(nodes_[child]);
      } else {
        entries.push_back({tag.begin.text, after_begin(tag)});
      }
    }
    choices.push_back(by_tokens(store_, entries));
    if (!entries.empty()) choices.push_back(trie(store_, std::move(entries)));
    const NodeRef one = store_.any_of(choices);
    NodeRef all = one;
    if (!f.stop_after_first) {
      all = store_.cat(one, store_.star(store_.cat(literal(store_, f.text), one)));
    }
    return f.at_least_one ? all : store_.optional(all);
  }

  // --- tokens ---

  Result<NodeRef> token_triggered(const Format& f) {
    const std::set<Token> triggers(f.lists().trigger_tokens.begin(),
                                   f.lists().trigger_tokens.end());
    std::vector<NodeRef> tags;
    for (uint32_t child : f.children) {
      const Format& tag = formats_[child];
      if (!tag.begin.is_token || !triggers.contains(tag.begin.token)) {
        return syntax_error(tag.at.pointer() + "/begin",
                            "is none of the trigger tokens; begin with one of them");
      }
      tags.push_back(nodes_[child]);
    }
    return between_tokens(f, tags);
  }

  Result<NodeRef> token_dispatch(const Format& f) {
    std::vector<NodeRef> tags;
    for (size_t i = 0; i < f.children.size(); ++i) {
      tags.push_back(store_.cat(token(f.lists().trigger_tokens[i]), nodes_[f.children[i]]));
    }
    return between_tokens(f, tags);
  }

  // Any tokens until a trigger, then what it begins.
  Result<NodeRef> between_tokens(const Format& f, const std::vector<NodeRef>& choices) {
    std::set<Token> known;
    for (uint32_t id : f.lists().tokens.ids) known.insert({id, ""});
    for (const std::string& name : f.lists().tokens.names) known.insert({0, name});
    for (size_t i = 0; i < f.lists().trigger_tokens.size(); ++i) {
      if (known.insert(f.lists().trigger_tokens[i]).second) continue;
      const bool rules = f.type == Type::token_dispatch;
      const std::string index = std::to_string(i);
      return syntax_error(
          f.at.pointer() + (rules ? "/rules/" + index + "/0" : "/trigger_tokens/" + index),
          "this trigger token stands twice, or is excluded as well; keep one");
    }
    const NodeRef text = store_.star(store_.tokens(barred_tokens(f)));
    const NodeRef tags = store_.any_of(choices);
    if (f.at_least_one && f.stop_after_first) return tags;
    if (f.stop_after_first) return store_.cat(text, store_.optional(tags));
    const NodeRef round = store_.cat(tags, text);
    return f.at_least_one ? store_.plus(round) : store_.cat(text, store_.star(round));
  }

  Store& store_;
  const Formats& formats_;
  const Limits& limits_;
  Notes& notes_;
  RuleMarks* marks_;
  Fuel& fuel_;
  std::vector<NodeRef> nodes_;
  // One schema is worked out for a few rules. What objects need is then at hand when the first call
  // comes, the code included: on a first visit that takes longer to fetch than to run.
  bool begun_ = false;
};

}  // namespace
}  // namespace treadle::tag

namespace treadle {

Result<NodeRef> parse_tag(Store& store, const json::Value& tag, const Limits& limits, Notes& notes,
                          RuleMarks* marks) {
  Result<tag::Formats> formats = tag::read_formats(tag, limits);
  if (!formats.ok()) return formats.status();
  FuelScope scope(store, limits);
  Result<NodeRef> node = tag::Lowering(store, *formats, limits, notes, marks, scope.fuel()).run();
  if (!node.ok()) return node;
  return scope.close(*node);
}

}  // namespace treadle
