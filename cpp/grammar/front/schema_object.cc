#include "grammar/front/schema_object.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <span>
#include <utility>

#include "grammar/front/schema_words.h"
#include "grammar/front/styles.h"
#include "grammar/typed/object.h"
#include "grammar/typed/other_text.h"
#include "grammar/typed/str.h"

namespace treadle::schema {
namespace {

// Fuel, in units of about 30 ns.
constexpr uint64_t kKeyCost = 16;
constexpr uint64_t kSplitCost = 100;
constexpr size_t kGoals = 8;
constexpr size_t kClaims = 4;  // goals whose combinations are alternatives of one key's value

class ObjectBuilder {
 public:
  ObjectBuilder(Store& store, const SourceRef& source, const Form& form, Place place, bool loose,
                Fuel& fuel)
      : store_(store), source_(source), form_(form), place_(place), loose_(loose), fuel_(fuel) {}

  Result<NodeRef> run() {
    auto out = std::make_shared<ObjectForm>();
    out->min = form_.min_properties;
    out->max = form_.max_properties;
    out->declared_order = source_->options.declared_order;
    out->spacing = source_->spacing(store_, place_);
    out->escapes = source_->options.escapes;
    out->barred = source_->spelling(loose_);
    if (place_.role != Role::json) frame(*out);
    if (!form_.names.empty()) {
      const auto names = text_of(store_, *source_, form_.names, loose_, store_.limits(), fuel_);
      if (!names) return names.status();
      names_ = *names;
    }
    if (Status status = find_goals(); !status.ok()) return status;
    name_keys(*out);
    for (const Sub part : form_.objects) {
      said_.push_back(part.as == As::schema ? said_in(part.node) : Said{});
    }
    if (!list_extras(*out)) return store_.ok() ? fuel_.status() : store_.fault();
    for (ObjectKey& key : out->keys) {
      if (!fuel_.spend(kKeyCost * (1 + form_.objects.size()))) return fuel_.status();
      key.value = value_of(key.name);
      if (key.value != store_.empty()) add_claims(key);
    }
    if (!add_extras(*out)) return store_.ok() ? fuel_.status() : store_.fault();
    out->goals = (uint32_t{1} << goals_.size()) - 1;
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
      if (part.as == As::refuted || part.as == As::differs) {
        key_index(out, node.key());
        continue;
      }
      const json::Value members = part.as == As::literal ? node : keyword(part, "properties");
      if (!members) continue;
      if (out.keys.empty()) out.keys.reserve(members.size());
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

  // What some key must do: match `text`, and (unless its presence is enough) fail the schema.
  struct Goal {
    NodeRef text;
    std::optional<Sub> value;
  };

  Status find_goals() {
    size_t claims = 0;
    for (const Sub some : form_.somes) {
      const Result<Goal> goal = goal_of(some);
      if (!goal) return goal.status();
      goals_.push_back(*goal);
      claims += goal->value.has_value() ? 1 : 0;
      if (goals_.size() <= kGoals && claims <= kClaims) continue;
      return limit_exceeded("branches", std::exp2(goals_.size()), 1u << kGoals,
                            source_->pointer(source_->at(some.node)));
    }
    return ok_status();
  }

  Result<Goal> goal_of(Sub some) {
    const json::Value node = source_->at(some.node);
    std::vector<std::string_view> named;
    if (some.as == As::longer) {
      for (const json::Value member : node) named.push_back(member.key());
      return Goal{other_text(store_, named), std::nullopt};
    }
    const Sub fails{some.node, As::refuted};
    const bool present = node.is_boolean() && !node.truth();
    const std::optional<Sub> value = present ? std::nullopt : std::optional(fails);
    const auto pattern = source_->key_patterns.find(some.node);
    if (pattern != source_->key_patterns.end()) return Goal{pattern->second, value};
    if (keyword_of(node.key()) == Keyword::property_names) {
      const auto text = text_of(store_, *source_, {fails}, loose_, store_.limits(), fuel_);
      if (!text) return text.status();
      return Goal{*text, std::nullopt};
    }
    const json::Value schema = node.parent();
    const auto part = [&](std::string_view name) {
      const json::Value argument = schema.get(name);
      return argument && source_->ignored(argument) ? json::Value() : argument;
    };
    if (const json::Value members = part("properties")) {
      for (const json::Value member : members) named.push_back(member.key());
    }
    NodeRef text = other_text(store_, named);
    if (const json::Value members = part("patternProperties")) {
      for (const json::Value member : members) {
        const auto known = source_->key_patterns.find(member.index());
        if (known == source_->key_patterns.end()) continue;
        text = store_.both(text, store_.complement(known->second));
      }
    }
    return Goal{text, value};
  }

  // Where keys must be told apart, those of a small language are listed by name.
  bool list_extras(ObjectForm& out) {
    if (form_.min_properties < 2 && goals_.empty()) return true;
    std::vector<NodeRef> texts;
    for (const Goal& goal : goals_) {
      if (goal.value) texts.push_back(goal.text);
    }
    std::vector<Kind> kinds;
    if (form_.min_properties >= 2) {
      if (!split_extras(out, kinds)) return false;
      for (const Kind& kind : kinds) texts.push_back(kind.text);
    }
    for (const NodeRef text : texts) {
      const auto words = words_of(store_, text, fuel_);
      if (!store_.ok() || fuel_.exhausted()) return false;
      if (!words) continue;
      for (const std::string& word : *words) key_index(out, own(word));
    }
    return true;
  }

  // The goals that a named key reaches: by being there, or with values that fail a schema.
  void add_claims(ObjectKey& key) {
    std::vector<size_t> chances;
    for (size_t i = 0; i < goals_.size(); ++i) {
      if (!store_.matches(goals_[i].text, key.name)) continue;
      if (goals_[i].value) {
        chances.push_back(i);
      } else {
        key.gain |= uint32_t{1} << i;
      }
    }
    for (uint32_t some = 1; some >> chances.size() == 0; ++some) {
      Conj conj = conj_of(key.name);
      KeyClaim claim;
      for (size_t j = 0; j < chances.size(); ++j) {
        if (!(some >> j & 1)) continue;
        claim.gain |= uint32_t{1} << chances[j];
        add_sub(conj, *goals_[chances[j]].value);
      }
      claim.value =
          source_->value(store_, source_, std::move(conj), loose_, source_->inside(place_));
      key.claims.push_back(claim);
    }
  }

  // Whether a key can be written at all.
  bool writable(std::string_view name) {
    if (place_.role != Role::json) return store_.matches(writable_, name);
    const NodeRef barred = source_->spelling(loose_);
    if (barred == store_.empty()) return true;
    const NodeRef spelled = string_content(store_, store_.bytes(name), source_->options.escapes);
    return has_member(store_, store_.both(spelled, barred));
  }

  // The node for the value of a named key; empty() if the key must not occur.
  NodeRef value_of(std::string_view name) {
    if (std::binary_search(form_.absent.begin(), form_.absent.end(), name)) return store_.empty();
    if (!form_.names.empty() && !store_.matches(names_, name)) return store_.empty();
    if (!writable(name)) return store_.empty();
    for (const Sub part : form_.objects) {
      const bool literal = part.as == As::literal;
      if (literal && !source_->member(source_->at(part.node), name)) return store_.empty();
    }
    return source_->value(store_, source_, conj_of(name), loose_, source_->inside(place_));
  }

  // All that holds for the value of a named key.
  Conj conj_of(std::string_view name) {
    Conj conj;
    for (size_t i = 0; i < form_.objects.size(); ++i) {
      const Sub part = form_.objects[i];
      const json::Value node = source_->at(part.node);
      if (part.as == As::refuted || part.as == As::differs) {
        if (node.key() == name) add_sub(conj, part);
      } else if (part.as == As::literal) {
        add_sub(conj, Sub{source_->member(node, name).index(), As::literal});
      } else {
        add_declared(conj, said_[i], name);
      }
    }
    for (const Unevaluated& part : form_.other_keys) {
      const bool evaluated = std::any_of(part.scope.begin(), part.scope.end(), [&](uint32_t node) {
        Conj found;
        return declared(found, said_in(node), name);
      });
      if (!evaluated) add_sub(conj, Sub{part.argument, As::schema});
    }
    return conj;
  }

  // What a schema says about the members of objects: absent where it says nothing.
  struct Said {
    json::Value members, patterns, others;
  };

  Said said_in(uint32_t schema) const {
    const Sub part{schema, As::schema};
    return {keyword(part, "properties"), keyword(part, "patternProperties"),
            keyword(part, "additionalProperties")};
  }

  // What `properties` and `patternProperties` say about a key; false if they say nothing.
  bool declared(Conj& conj, const Said& said, std::string_view name) {
    bool found = false;
    if (said.members) {
      if (const json::Value member = source_->member(said.members, name)) {
        add_sub(conj, Sub{member.index(), As::schema});
        found = true;
      }
    }
    if (said.patterns) {
      for (const json::Value member : said.patterns) {
        const auto pattern = source_->key_patterns.find(member.index());
        if (pattern == source_->key_patterns.end()) continue;
        if (!store_.matches(pattern->second, name)) continue;
        add_sub(conj, Sub{member.index(), As::schema});
        found = true;
      }
    }
    return found;
  }

  void add_declared(Conj& conj, const Said& said, std::string_view name) {
    if (declared(conj, said, name)) return;
    if (said.others) add_sub(conj, Sub{said.others.index(), As::schema});
  }

  // Keys without a name in the schema, split by the patterns that they match.
  struct Kind {
    NodeRef text;
    Conj conj;
    bool matched = false;  // a pattern of the part at hand
    uint32_t gain = 0;     // goals
  };

  // The keys that the form does not name, by what holds for their values.
  bool split_extras(const ObjectForm& out, std::vector<Kind>& kinds) {
    if (bars_others()) return true;
    std::vector<std::string_view> named;
    for (const ObjectKey& key : out.keys) named.push_back(key.name);
    NodeRef text = other_text(store_, named);
    if (!form_.names.empty()) text = both_texts(text, names_);
    if (!form_.names.empty() && !has_member(store_, text)) return store_.ok();
    kinds.push_back(Kind{text, {}, false});
    for (const Sub part : form_.objects) {
      if (part.as == As::literal) {
        kinds.clear();  // a literal has no other keys
        return true;
      }
      if (part.as == As::refuted || part.as == As::differs) continue;
      if (!split(kinds, {&part.node, 1}, keyword(part, "additionalProperties"))) return false;
    }
    for (const Unevaluated& part : form_.other_keys) {
      if (!split(kinds, part.scope, source_->at(part.argument))) return false;
    }
    // What a pattern matches is mentioned, and has its schema.
    if (closed()) std::erase_if(kinds, [](const Kind& kind) { return kind.conj.empty(); });
    return true;
  }

  // Whether one part alone says that there are no keys without a name.
  bool bars_others() const {
    for (size_t i = 0; i < said_.size(); ++i) {
      const As as = form_.objects[i].as;
      if (as == As::literal) return true;
      const json::Value others = said_[i].others;
      const bool none = others && others.is_boolean() && !others.truth();
      if (as == As::schema && none && !said_[i].patterns) return true;
    }
    return false;
  }

  // Whether keys that nothing mentions are forbidden.
  bool closed() const {
    if (!source_->options.closed || loose_ || !form_.other_keys.empty()) return false;
    bool mentions = false;
    for (const Sub part : form_.objects) {
      if (part.as != As::schema) continue;
      if (keyword(part, "additionalProperties")) return false;
      mentions |= keyword(part, "properties") || keyword(part, "patternProperties");
    }
    return mentions;
  }

  bool add_extras(ObjectForm& out) {
    // A frame that repeats the key at the end of a member is for keys known beforehand.
    if (out.frame != nullptr && !out.frame->end.empty()) return true;
    std::vector<Kind> kinds;
    if (!split_extras(out, kinds)) return false;
    for (size_t i = 0; i < goals_.size(); ++i) {
      if (goals_[i].value) continue;  // its keys are listed by name
      if (!split_by(kinds, goals_[i].text, std::nullopt, uint32_t{1} << i)) return false;
    }
    std::map<std::pair<Conj, uint32_t>, std::vector<NodeRef>> by_value;
    for (Kind& kind : kinds) by_value[{std::move(kind.conj), kind.gain}].push_back(kind.text);
    for (auto& [about, texts] : by_value) {
      const NodeRef value =
          source_->value(store_, source_, about.first, loose_, source_->inside(place_));
      NodeRef text = store_.any_of(texts);
      if (place_.role != Role::json) text = store_.both(text, writable_);
      if (place_.role != Role::json && !has_member(store_, text)) continue;
      out.extras.push_back(ExtraKeys{text, value, about.second});
    }
    return true;
  }

  // Parts the kinds by the patterns of some schemas; `other` is for keys that match none.
  bool split(std::vector<Kind>& kinds, std::span<const uint32_t> schemas, json::Value other) {
    for (Kind& kind : kinds) kind.matched = false;
    for (const uint32_t schema : schemas) {
      const json::Value members = keyword(Sub{schema, As::schema}, "patternProperties");
      if (!members) continue;
      for (const json::Value member : members) {
        const auto pattern = source_->key_patterns.find(member.index());
        if (pattern == source_->key_patterns.end()) continue;
        if (!split_by(kinds, pattern->second, Sub{member.index(), As::schema}, 0)) return false;
      }
    }
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

  // Both are languages of texts (patterns hold nothing else), so any text takes nothing away.
  NodeRef both_texts(NodeRef a, NodeRef b) {
    if (a == store_.any_text()) return b;
    return b == store_.any_text() ? a : store_.both(a, b);
  }

  // Parts each kind by a pattern; what matches it obeys `schema` and has a further gain.
  bool split_by(std::vector<Kind>& kinds, NodeRef pattern, std::optional<Sub> schema,
                uint32_t gain) {
    std::vector<Kind> out;
    for (Kind& kind : kinds) {
      if (!fuel_.spend(kSplitCost)) return false;
      const NodeRef inside = both_texts(kind.text, pattern);
      const NodeRef outside = store_.both(kind.text, store_.complement(pattern));
      if (has_member(store_, inside)) {
        Kind hit{inside, kind.conj, kind.matched || schema.has_value(), kind.gain | gain};
        if (schema) add_sub(hit.conj, *schema);
        out.push_back(std::move(hit));
      }
      if (has_member(store_, outside))
        out.push_back(Kind{outside, kind.conj, kind.matched, kind.gain});
    }
    kinds = std::move(out);
    return store_.ok();
  }

  std::string_view own(const std::string& word) { return words_.emplace_back(word); }

  Store& store_;
  const SourceRef& source_;
  const Form& form_;
  Place place_;
  bool loose_;
  Fuel& fuel_;
  NodeRef names_ = 0;
  NodeRef writable_ = 0;    // the keys that a style can write
  std::vector<Said> said_;  // by the schemas of form_.objects
  std::map<std::string_view, uint32_t> index_;
  std::deque<std::string> words_;  // names that the schema does not spell out
  std::vector<Goal> goals_;
};

}  // namespace

Result<NodeRef> object_of(Store& store, const SourceRef& source, const Form& form, Place place,
                          bool loose, Fuel& fuel) {
  return ObjectBuilder(store, source, form, place, loose, fuel).run();
}

}  // namespace treadle::schema
