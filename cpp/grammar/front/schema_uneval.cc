// What `unevaluatedProperties` and `unevaluatedItems` see: the schemas that apply to the same value
// from within theirs and hold.
#include <algorithm>
#include <unordered_set>

#include "grammar/front/schema_branch.h"
#include "grammar/front/schema_check.h"
#include "grammar/front/schema_form.h"

namespace treadle::schema {
namespace {

constexpr size_t kTruths = 8;  // members of anyOf that are told apart under one keyword

// Calls use(schema, argument) for every keyword that has an effect.
template <class Use>
void each_keyword(const Source& source, json::Value schema, Use use) {
  if (!schema.is_object()) return;
  const bool only_ref = source.ref_hides(schema);
  for (const json::Value argument : schema) {
    if (source.ignored(argument) || (only_ref && argument.key() != "$ref")) continue;
    use(argument, keyword_of(argument.key()));
  }
}

bool evaluates(Keyword keyword) {
  switch (keyword) {
    case Keyword::properties:
    case Keyword::pattern_properties:
    case Keyword::additional_properties:
    case Keyword::unevaluated_properties:
    case Keyword::items:
    case Keyword::prefix_items:
    case Keyword::additional_items:
    case Keyword::contains:
    case Keyword::unevaluated_items:
      return true;
    default:
      return false;
  }
}

// The schemas that apply in place, from within `root`, to a value of this branch.
std::vector<uint32_t> scope_of(const Source& source, const Branch& branch, uint32_t root) {
  std::vector<uint32_t> out{root};
  std::unordered_set<uint32_t> seen{root};
  const auto add = [&](json::Value schema) {
    if (schema && !source.ignored(schema) && seen.insert(schema.index()).second) {
      out.push_back(schema.index());
    }
  };
  const auto holds = [&](json::Value schema) { return branch.has({schema.index(), As::schema}); };
  for (size_t i = 0; i < out.size(); ++i) {
    const json::Value schema = source.at(out[i]);
    each_keyword(source, schema, [&](json::Value argument, Keyword keyword) {
      switch (keyword) {
        case Keyword::ref:
        case Keyword::recursive_ref:
        case Keyword::dynamic_ref:
          if (const auto to = source.refs.find(argument.index()); to != source.refs.end()) {
            add(source.at(to->second));
          }
          break;
        case Keyword::all_of:
          for (const json::Value part : argument) add(part);
          break;
        case Keyword::any_of:
        case Keyword::one_of:
          for (const json::Value part : argument) {
            if (holds(part)) add(part);
          }
          break;
        case Keyword::if_:
          if (holds(argument)) {
            add(argument);
            add(schema.get("then"));
          } else if (branch.has({argument.index(), As::refuted})) {
            add(schema.get("else"));
          }
          break;
        case Keyword::dependencies:
        case Keyword::dependent_schemas:
          for (const json::Value part : argument) {
            if (holds(part) && branch.has({part.index(), As::present})) add(part);
          }
          break;
        default:
          break;
      }
    });
  }
  return out;
}

// Whether a schema of the scope leaves nothing unevaluated.
bool covers_all(const Source& source, const Unevaluated& part, bool items) {
  bool all = false;
  for (const uint32_t node : part.scope) {
    each_keyword(source, source.at(node), [&](json::Value argument, Keyword keyword) {
      if (argument.index() == part.argument) return;
      if (items) {
        const json::Value list = source.at(node).get("items");
        all |= keyword == Keyword::unevaluated_items ||
               (keyword == Keyword::items && !argument.is_array()) ||
               (keyword == Keyword::additional_items && list && list.is_array());
      } else {
        all |=
            keyword == Keyword::unevaluated_properties || keyword == Keyword::additional_properties;
      }
    });
  }
  return all;
}

}  // namespace

void close_scopes(const Source& source, Branch& branch) {
  for (const bool items : {false, true}) {
    auto& list = items ? branch.form.other_items : branch.form.other_keys;
    std::erase_if(list, [&](Unevaluated& part) {
      if (says_nothing(source.at(part.argument))) return true;
      part.scope = scope_of(source, branch, part.scope[0]);
      return covers_all(source, part, items);
    });
  }
}

// Whether the schema, or one that applies in place within it, evaluates items or keys.
bool Checker::tells(uint32_t root) const {
  std::vector<uint32_t> open{root};
  std::unordered_set<uint32_t> seen{root};
  bool found = false;
  while (!open.empty() && !found) {
    const json::Value schema = source_->at(open.back());
    open.pop_back();
    each_keyword(*source_, schema,
                 [&](json::Value, Keyword keyword) { found |= evaluates(keyword); });
    for (const uint32_t next : in_place(schema)) {
      if (seen.insert(next).second) open.push_back(next);
    }
  }
  return found;
}

// Marks the alternatives whose truth `unevaluated...` depends on, and asks for their negation.
Status Checker::trace(json::Value argument) {
  std::vector<uint32_t> scope{argument.parent().index()};
  std::unordered_set<uint32_t> seen(scope.begin(), scope.end());
  size_t truths = 0;
  for (size_t i = 0; i < scope.size(); ++i) {
    const json::Value schema = source_->at(scope[i]);
    if (!fuel_.spend(4)) return fuel_.status();
    each_keyword(*source_, schema, [&](json::Value part, Keyword keyword) {
      if (keyword == Keyword::contains) need(part);
      const auto decide = [&](json::Value choice) {
        if (!tells(choice.index())) return false;
        ++truths;
        source_->traced[choice.index()].push_back(argument.index());
        need(choice);
        need_refuted(choice, argument);
        return true;
      };
      if (keyword == Keyword::if_) decide(part);
      if (keyword != Keyword::any_of) return;
      for (const json::Value choice : part) {
        if (decide(choice)) source_->traced[part.index()].push_back(argument.index());
      }
    });
    for (const uint32_t next : in_place(schema)) {
      if (seen.insert(next).second) scope.push_back(next);
    }
  }
  if (truths <= kTruths) return ok_status();
  return refuse(argument, "more than 8 alternatives decide what is evaluated");
}

}  // namespace treadle::schema
