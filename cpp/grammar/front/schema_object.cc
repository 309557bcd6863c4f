#include "grammar/front/schema_object.h"

#include <algorithm>
#include <map>
#include <utility>

#include "grammar/front/choice.h"
#include "grammar/front/styles.h"
#include "grammar/typed/object.h"
#include "grammar/typed/str.h"

namespace treadle::schema {
namespace {

// Fuel, in units of about 30 ns.
constexpr uint64_t kKeyCost = 16;
constexpr uint64_t kSplitCost = 100;

class ObjectBuilder {
 public:
  ObjectBuilder(Store& store, const SourceRef& source, const Form& form, Role role, bool loose,
                Fuel& fuel)
      : store_(store), source_(source), form_(form), role_(role), loose_(loose), fuel_(fuel) {}

  Result<NodeRef> run() {
    auto out = std::make_shared<ObjectForm>();
    out->min = form_.min_properties;
    out->max = form_.max_properties;
    out->declared_order = source_->options.declared_order;
    out->whitespace = source_->options.whitespace;
    out->escapes = source_->options.escapes;
    out->barred = source_->barred;
    if (role_ != Role::json) frame(*out);
    const auto names = text_of(store_, *source_, form_.names, loose_, store_.limits(), fuel_);
    if (!names) return names.status();
    names_ = *names;
    name_keys(*out);
    for (ObjectKey& key : out->keys) {
      if (!fuel_.spend(kKeyCost * (1 + form_.objects.size()))) return fuel_.status();
      key.value = value_of(key.name);
    }
    if (!add_extras(*out)) return store_.ok() ? fuel_.status() : store_.fault();
    out->seal();
    return object_node(store_, std::move(out));
  }

 private:
  json::Value keyword(Sub part, std::string_view name) const {
    const json::Value argument = source_->at(part.node).get(name);
    return argument && source_->ignored(argument) ? json::Value() : argument;
  }

  uint32_t key_index(ObjectForm& out, std::string_view name) {
    const auto [found, fresh] = index_.try_emplace(name, static_cast<uint32_t>(out.keys.size()));
    if (fresh) {
      ObjectKey key;
      key.name = name;
      out.keys.push_back(std::move(key));
    }
    return found->second;
  }

  void name_keys(ObjectForm& out) {
    for (const Sub part : form_.objects) {
      const json::Value node = source_->at(part.node);
      if (part.as == As::refuted) {
        key_index(out, node.key());
        continue;
      }
      const json::Value members = part.as == As::literal ? node : keyword(part, "properties");
      if (!members) continue;
      for (const json::Value member : members) key_index(out, member.key());
    }
    for (const std::string_view name : form_.required)
      out.keys[key_index(out, name)].required = true;
    for (const std::string_view name : form_.absent) key_index(out, name);
    for (const uint32_t argument : form_.needs) {
      for (const json::Value member : source_->at(argument)) {
        if (!member.is_array()) continue;
        const uint32_t key = key_index(out, member.key());
        for (const json::Value need : member) {
          const uint32_t other = key_index(out, need.text());
          out.keys[key].needs.push_back(other);
        }
      }
    }
  }

  // Keys are raw text, so the keys that can be written are a regular language of their own.
  void frame(ObjectForm& out) {
    const Style& style = *source_->options.style;
    out.frame = &style.frame;
    writable_ = styled_keys(store_);
    if (out.barred != store_.empty()) writable_ = store_.both(writable_, out.barred);
  }

  // The node for the value of a named key; empty() if the key must not occur.
  NodeRef value_of(std::string_view name) {
    if (std::binary_search(form_.absent.begin(), form_.absent.end(), name)) return store_.empty();
    if (!form_.names.empty() && !store_.matches(names_, name)) return store_.empty();
    if (role_ != Role::json && !store_.matches(writable_, name)) return store_.empty();
    Conj conj;
    for (const Sub part : form_.objects) {
      const json::Value node = source_->at(part.node);
      if (part.as == As::refuted) {
        if (node.key() == name) add_sub(conj, part);
      } else if (part.as == As::literal) {
        const json::Value member = source_->member(node, name);
        if (!member) return store_.empty();
        add_sub(conj, Sub{member.index(), As::literal});
      } else {
        add_declared(conj, part, name);
      }
    }
    return source_->value(store_, source_, std::move(conj), loose_, role_);
  }

  void add_declared(Conj& conj, Sub part, std::string_view name) {
    bool found = false;
    if (const json::Value members = keyword(part, "properties")) {
      if (const json::Value member = source_->member(members, name)) {
        add_sub(conj, Sub{member.index(), As::schema});
        found = true;
      }
    }
    if (const json::Value members = keyword(part, "patternProperties")) {
      for (const json::Value member : members) {
        const auto pattern = source_->key_patterns.find(member.index());
        if (pattern == source_->key_patterns.end()) continue;
        if (!store_.matches(pattern->second, name)) continue;
        add_sub(conj, Sub{member.index(), As::schema});
        found = true;
      }
    }
    if (found) return;
    if (const json::Value other = keyword(part, "additionalProperties")) {
      add_sub(conj, Sub{other.index(), As::schema});
    }
  }

  // Keys without a name in the schema, split by the patterns that they match.
  struct Kind {
    NodeRef text;
    Conj conj;
    bool matched = false;  // a pattern of the part at hand
  };

  bool add_extras(ObjectForm& out) {
    // A frame that repeats the key at the end of a member is for keys known beforehand.
    if (out.frame != nullptr && !out.frame->end.empty()) return true;
    std::vector<std::string_view> named;
    for (const ObjectKey& key : out.keys) named.push_back(key.name);
    NodeRef text = store_.any_text();
    if (!form_.names.empty()) text = store_.both(text, names_);
    if (!named.empty()) text = store_.both(text, store_.complement(literal_trie(store_, named)));
    if (!form_.names.empty() && !has_member(store_, text)) return store_.ok();
    std::vector<Kind> kinds{Kind{text, {}, false}};
    for (const Sub part : form_.objects) {
      if (part.as == As::literal) return true;  // a literal has no other keys
      if (part.as == As::refuted) continue;
      if (!split(kinds, part)) return false;
    }
    std::map<Conj, std::vector<NodeRef>> by_value;
    for (Kind& kind : kinds) by_value[std::move(kind.conj)].push_back(kind.text);
    for (auto& [conj, texts] : by_value) {
      const NodeRef value = source_->value(store_, source_, conj, loose_, role_);
      NodeRef text = store_.any_of(texts);
      if (role_ != Role::json) text = store_.both(text, writable_);
      if (role_ != Role::json && !has_member(store_, text)) continue;
      out.extras.push_back(ExtraKeys{text, value});
    }
    return true;
  }

  bool split(std::vector<Kind>& kinds, Sub part) {
    for (Kind& kind : kinds) kind.matched = false;
    if (const json::Value members = keyword(part, "patternProperties")) {
      for (const json::Value member : members) {
        const auto pattern = source_->key_patterns.find(member.index());
        if (pattern == source_->key_patterns.end()) continue;
        if (!split_by(kinds, pattern->second, member.index())) return false;
      }
    }
    const json::Value other = keyword(part, "additionalProperties");
    if (!other) return true;
    if (other.is_boolean() && !other.truth()) {
      std::erase_if(kinds, [](const Kind& kind) { return !kind.matched; });
      return true;
    }
    for (Kind& kind : kinds) {
      if (!kind.matched) add_sub(kind.conj, Sub{other.index(), As::schema});
    }
    return true;
  }

  bool split_by(std::vector<Kind>& kinds, NodeRef pattern, uint32_t schema) {
    std::vector<Kind> out;
    for (Kind& kind : kinds) {
      if (!fuel_.spend(kSplitCost)) return false;
      const NodeRef inside = store_.both(kind.text, pattern);
      const NodeRef outside = store_.both(kind.text, store_.complement(pattern));
      if (has_member(store_, inside)) {
        Kind hit{inside, kind.conj, true};
        add_sub(hit.conj, Sub{schema, As::schema});
        out.push_back(std::move(hit));
      }
      if (has_member(store_, outside)) out.push_back(Kind{outside, kind.conj, kind.matched});
    }
    kinds = std::move(out);
    return store_.ok();
  }

  Store& store_;
  const SourceRef& source_;
  const Form& form_;
  Role role_;
  bool loose_;
  Fuel& fuel_;
  NodeRef names_ = 0;
  NodeRef writable_ = 0;  // the keys that a style can write
  std::map<std::string_view, uint32_t> index_;
};

}  // namespace

Result<NodeRef> object_of(Store& store, const SourceRef& source, const Form& form, Role role,
                          bool loose, Fuel& fuel) {
  return ObjectBuilder(store, source, form, role, loose, fuel).run();
}

}  // namespace treadle::schema
