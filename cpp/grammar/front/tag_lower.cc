#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/front/choice.h"
#include "grammar/front/ebnf.h"
#include "grammar/front/fuel_scope.h"
#include "grammar/front/regex.h"
#include "grammar/front/tag.h"
#include "grammar/front/tag_format.h"

namespace treadle::tag {
namespace {

// Lowers formats from the last to the first, so that children are ready before their parents.
class Lowering {
 public:
  Lowering(Store& store, const std::vector<Format>& formats, const Limits& limits, Notes& notes)
      : store_(store), formats_(formats), limits_(limits), notes_(notes) {}

  Result<NodeRef> run() {
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
  Result<NodeRef> lower(const Format& f) {
    switch (f.type) {
      case Type::const_string:
        return store_.bytes(f.text);
      case Type::regex:
        return placed(f, "pattern", parse_regex(store_, f.text, RegexOptions{}, limits_));
      case Type::grammar:
        return placed(f, "grammar", parse_ebnf(store_, f.text, "root", limits_));
      case Type::json_schema:
        return schema(f);
      case Type::any_text:
        return free_text(barred(f, {}));
      case Type::sequence:
        return store_.concat(parts(f));
      case Type::choice:
        return store_.any_of(parts(f));
      case Type::repeat:
        return store_.repeat(nodes_[f.children[0]], f.lo, f.hi);
      case Type::tag:
        return store_.cat(store_.bytes(f.text), after_begin(f));
      case Type::triggered_tags:
        return triggered(f);
      default:
        return separated(f);
    }
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
    options.at = f.schema.pointer();
    return parse_schema(store_, f.schema, options, limits_, notes_);
  }

  std::vector<NodeRef> parts(const Format& f) {
    std::vector<NodeRef> out;
    for (uint32_t child : f.children) out.push_back(nodes_[child]);
    return out;
  }

  NodeRef one_of(const std::vector<std::string>& words) {
    std::vector<std::string_view> views(words.begin(), words.end());
    return literal_trie(store_, views);
  }

  // What follows the begin of a tag.
  NodeRef after_begin(const Format& f) { return store_.cat(nodes_[f.children[0]], one_of(f.ends)); }

  // The union of tags as a trie of their begins, less the first `skip` bytes.
  NodeRef tags(const std::vector<uint32_t>& children, size_t skip) {
    std::vector<TrieEntry> entries;
    for (uint32_t child : children) {
      const Format& f = formats_[child];
      entries.push_back({std::string_view(f.text).substr(skip), after_begin(f)});
    }
    return trie(store_, std::move(entries));
  }

  // What free text must not contain: excludes, triggers, the ends of the tag around it.
  std::vector<std::string> barred(const Format& f, const std::vector<std::string>& triggers) {
    std::vector<std::string> out = f.excludes;
    out.insert(out.end(), triggers.begin(), triggers.end());
    if (f.enclosing != kNoFormat) {
      for (const std::string& end : formats_[f.enclosing].ends) {
        if (!end.empty()) out.push_back(end);
      }
    }
    return out;
  }

  NodeRef without(NodeRef text, NodeRef words, NodeRef after) {
    NodeRef parts[] = {store_.anything(), words, after};
    return store_.both(text, store_.complement(store_.concat(parts)));
  }

  NodeRef free_text(const std::vector<std::string>& words) {
    if (words.empty()) return store_.any_text();
    return without(store_.any_text(), one_of(words), store_.anything());
  }

  // Free text up to and with `trigger`, which is the first trigger in it: one that overlaps the
  // text before it has already begun a tag.
  NodeRef until(const Format& f, const std::string& trigger) {
    NodeRef text = store_.cat(free_text(barred(f, f.triggers)), store_.bytes(trigger));
    text = without(text, one_of(f.triggers), store_.plus(store_.any_byte()));
    return f.excludes.empty() ? text : without(text, one_of(f.excludes), store_.anything());
  }

  Result<NodeRef> triggered(const Format& f) {
    std::vector<std::vector<uint32_t>> by_trigger(f.triggers.size());
    for (uint32_t child : f.children) {
      const Format& tag = formats_[child];
      size_t t = 0;
      while (t < f.triggers.size() && !tag.text.starts_with(f.triggers[t])) ++t;
      if (t == f.triggers.size()) {
        return syntax_error(tag.at.pointer() + "/begin",
                            "begins with none of the triggers; add a trigger for it");
      }
      by_trigger[t].push_back(child);
    }
    NodeRef text = free_text(barred(f, f.triggers));
    if (f.at_least_one && f.stop_after_first) return tags(f.children, 0);
    std::vector<NodeRef> dispatch;
    for (size_t t = 0; t < f.triggers.size(); ++t) {
      NodeRef rest = tags(by_trigger[t], f.triggers[t].size());
      dispatch.push_back(store_.cat(until(f, f.triggers[t]), rest));
    }
    NodeRef next = store_.any_of(dispatch);
    if (f.stop_after_first) return store_.alt(text, next);
    NodeRef loop = store_.cat(store_.star(next), text);
    return f.at_least_one ? store_.cat(tags(f.children, 0), loop) : loop;
  }

  Result<NodeRef> separated(const Format& f) {
    NodeRef one = tags(f.children, 0);
    NodeRef all = one;
    if (!f.stop_after_first) {
      all = store_.cat(one, store_.star(store_.cat(store_.bytes(f.text), one)));
    }
    return f.at_least_one ? all : store_.optional(all);
  }

  Store& store_;
  const std::vector<Format>& formats_;
  const Limits& limits_;
  Notes& notes_;
  std::vector<NodeRef> nodes_;
};

}  // namespace
}  // namespace treadle::tag

namespace treadle {

Result<NodeRef> parse_tag(Store& store, const json::Value& tag, const Limits& limits,
                          Notes& notes) {
  Result<std::vector<tag::Format>> formats = tag::read_formats(tag, limits);
  if (!formats.ok()) return formats.status();
  FuelScope scope(store, limits);
  Result<NodeRef> node = tag::Lowering(store, *formats, limits, notes).run();
  if (!node.ok()) return node;
  return scope.close(*node);
}

}  // namespace treadle
