// Which schemas can be negated, which alternatives of oneOf exclude one another, which references
// go in circles.
#include <algorithm>

#include "grammar/front/formats.h"
#include "grammar/front/schema_check.h"
#include "grammar/front/schema_form.h"
#include "grammar/front/schema_words.h"

namespace treadle::schema {
namespace {

constexpr uint32_t kRefutedChoices = 16;  // oneOf fails where none holds or any two do
constexpr uint64_t kPairCost = 200;       // what such a proof costs beside its own steps
constexpr uint64_t kPairFuel = 50'000;    // one proof that two alternatives exclude one another

bool is_false(json::Value schema) {
  return schema.is_boolean() && !schema.truth();
}

}  // namespace

// Whether the keyword's failure can be written as conditions (schema_negate.cc).
Result<bool> Checker::has_dual(json::Value argument, Keyword keyword) {
  switch (keyword) {
    case Keyword::max_properties:
      return count_of(argument) == 0;
    case Keyword::format:
      // What is outside of a subset may be of the format all the same.
      return !source_->options.assert_formats || format_kind(argument.text()) != FormatKind::subset;
    case Keyword::pattern_properties:
      for (const json::Value member : argument) {
        const auto pattern = source_->key_patterns.find(member.index());
        if (says_nothing(member) || is_false(member) || pattern == source_->key_patterns.end()) {
          continue;
        }
        if (!words_of(store_, pattern->second, fuel_)) return false;
      }
      return true;
    case Keyword::additional_properties:
      // A key may repeat, so only its presence can be relied on, not its value.
      return says_nothing(argument) || is_false(argument);
    case Keyword::unevaluated_items:
    case Keyword::unevaluated_properties:
      return says_nothing(argument);
    case Keyword::unique_items:
      return !argument.truth();
    case Keyword::draft3:
      return false;
    case Keyword::one_of:
      return argument.size() <= kRefutedChoices;
    default:
      return true;
  }
}

Status Checker::visit_refuted(const Task& task) {
  const json::Value schema = source_->at(task.node);
  if (seen(task.node) & kFails) return ok_status();
  // A lenient origin must learn of every refusal.
  if (!source_->options.lenient) seen(task.node) |= kFails;
  if (Status status = read(schema); !status.ok()) return status;
  if (!schema.is_object() || source_->dropped.contains(task.origin)) return ok_status();
  if (loosened_.contains(task.origin)) return ok_status();
  const bool only_ref = source_->ref_hides(schema);
  for (const json::Value argument : schema) {
    if (only_ref && argument.key() != "$ref") continue;
    if (source_->ignored(argument)) continue;
    if (!fuel_.spend(1)) return fuel_.status();
    if (Status status = refute_keyword(task, schema, argument); !status.ok()) return status;
  }
  return ok_status();
}

Status Checker::refuse_negation(json::Value origin, json::Value argument) {
  const std::string place = source_->pointer(argument);
  if (origin.key() != "oneOf") {
    return refuse(origin, "the negation of `" + std::string(argument.key()) + "` at " + place +
                              " cannot be enforced yet");
  }
  if (source_->options.lenient) return loosen(origin);
  return refuse(origin, "alternatives may hold at the same time, and the one with `" +
                            std::string(argument.key()) + "` at " + place +
                            " cannot be excluded yet; give them different types, constants or "
                            "required keys");
}

Status Checker::refute_keyword(const Task& task, json::Value schema, json::Value argument) {
  const json::Value origin = source_->at(task.origin);
  const Keyword keyword = keyword_of(argument.key());
  const Result<bool> dual = has_dual(argument, keyword);
  if (!dual) return dual.status();
  if (!*dual) return refuse_negation(origin, argument);
  switch (keyword) {
    case Keyword::ref:
    case Keyword::recursive_ref:
    case Keyword::dynamic_ref:
      if (const auto found = source_->refs.find(argument.index()); found != source_->refs.end()) {
        need_refuted(source_->at(found->second), origin);
      }
      break;
    case Keyword::all_of:
    case Keyword::any_of:
    case Keyword::properties:
    case Keyword::pattern_properties:
    case Keyword::prefix_items:
      for (const json::Value part : argument) need_refuted(part, origin);
      break;
    case Keyword::items:
      if (argument.is_array()) {
        for (const json::Value part : argument) need_refuted(part, origin);
      } else {
        need_refuted(argument, origin);
      }
      break;
    case Keyword::additional_items:
      if (const json::Value items = schema.get("items"); items && items.is_array()) {
        need_refuted(argument, origin);
      }
      break;
    case Keyword::additional_properties:
    case Keyword::property_names:
      need_refuted(argument, origin);
      break;
    case Keyword::contains:
      need(argument);
      need_refuted(argument, origin);
      break;
    case Keyword::not_:
      need(argument);
      break;
    case Keyword::one_of:
      for (const json::Value part : argument) {
        need(part);
        need_refuted(part, origin);
      }
      break;
    case Keyword::dependent_schemas:
    case Keyword::dependencies:
      for (const json::Value part : argument) {
        if (!part.is_array()) need_refuted(part, origin);
      }
      break;
    case Keyword::if_:
      need(argument);
      need_refuted(argument, origin);
      for (const std::string_view name : {"then", "else"}) {
        const json::Value branch = schema.get(name);
        if (branch && !source_->ignored(branch)) need_refuted(branch, origin);
      }
      break;
    default:
      break;
  }
  return ok_status();
}

// With `lenient`, alternatives that cannot be kept apart become those of anyOf.
Status Checker::loosen(json::Value list) {
  for (const json::Value choice : list) source_->rivals.erase(choice.index());
  if (loosened_.insert(list.index()).second) {
    note(list, "taken as anyOf: two alternatives may hold at the same time");
  }
  return ok_status();
}

Status Checker::part_choices() {
  std::vector<uint32_t> lists;
  lists.swap(one_ofs_);
  for (const uint32_t list : lists) {
    if (Status status = part_choice(source_->at(list)); !status.ok()) return status;
  }
  return ok_status();
}

// Two alternatives exclude one another when nothing meets both and the schema around them. Nested
// oneOfs are read as anyOf here, which can only make the overlap look larger.
Status Checker::part_choice(json::Value list) {
  const json::Value schema = list.parent();
  std::vector<uint32_t> choices;
  for (const json::Value choice : list) choices.push_back(choice.index());
  for (size_t i = 0; i < choices.size(); ++i) {
    for (size_t j = i + 1; j < choices.size(); ++j) {
      Conj conj{Sub{schema.index(), As::trunk}};
      add_sub(conj, Sub{choices[i], As::schema});
      add_sub(conj, Sub{choices[j], As::schema});
      const NodeRef both = source_->value(store_, source_, std::move(conj), true);
      Fuel fuel("compile_fuel", std::min(kPairFuel, fuel_.left()));
      const Result<bool> live = store_.live(both, fuel);
      if (!store_.ok()) return store_.fault();
      if (!fuel_.spend(fuel.used() + kPairCost)) return fuel_.status();
      if (live && !*live) continue;
      source_->rivals[choices[i]].push_back(choices[j]);
      source_->rivals[choices[j]].push_back(choices[i]);
      need_refuted(source_->at(choices[i]), list);
      need_refuted(source_->at(choices[j]), list);
    }
  }
  return ok_status();
}

// The schemas that apply to the same value as this one.
std::vector<uint32_t> Checker::in_place(json::Value schema) const {
  std::vector<uint32_t> out;
  if (!schema.is_object()) return out;
  const bool only_ref = source_->ref_hides(schema);
  for (const json::Value argument : schema) {
    if (source_->ignored(argument) || (only_ref && argument.key() != "$ref")) continue;
    switch (keyword_of(argument.key())) {
      case Keyword::all_of:
      case Keyword::any_of:
      case Keyword::one_of:
      case Keyword::dependent_schemas:
      case Keyword::dependencies:
        for (const json::Value part : argument) out.push_back(part.index());
        break;
      case Keyword::not_:
      case Keyword::if_:
      case Keyword::then_:
      case Keyword::else_:
        out.push_back(argument.index());
        break;
      case Keyword::ref:
      case Keyword::recursive_ref:
      case Keyword::dynamic_ref:
        if (const auto found = source_->refs.find(argument.index()); found != source_->refs.end()) {
          out.push_back(found->second);
        }
        break;
      default:
        break;
    }
  }
  return out;
}

// A schema that leads back to itself without entering an item or a property has no meaning.
Status Checker::find_loops() const {
  if (source_->refs.empty()) return ok_status();  // a tree
  enum : uint8_t { kOpen = 1, kDone = 2 };
  struct Frame {
    uint32_t node;
    std::vector<uint32_t> next;
  };
  std::vector<uint8_t> colour(source_->doc.nodes.size(), 0);
  for (uint32_t start = 0; start < seen_.size(); ++start) {
    if (seen_[start] == 0 || colour[start] != 0) continue;
    std::vector<Frame> path{{start, in_place(source_->at(start))}};
    colour[start] = kOpen;
    while (!path.empty()) {
      if (!fuel_.spend(8)) return fuel_.status();
      if (path.back().next.empty()) {
        colour[path.back().node] = kDone;
        path.pop_back();
        continue;
      }
      const uint32_t next = path.back().next.back();
      path.back().next.pop_back();
      if (colour[next] == kDone) continue;
      if (colour[next] == kOpen) {
        return unsupported(source_->pointer(source_->at(next)),
                           "the schema refers back to itself without entering a property or item; "
                           "break the cycle",
                           "$ref");
      }
      colour[next] = kOpen;
      path.push_back({next, in_place(source_->at(next))});
    }
  }
  return ok_status();
}

}  // namespace treadle::schema
