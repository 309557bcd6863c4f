#include "grammar/front/schema_check.h"

#include <algorithm>

#include "grammar/front/formats.h"
#include "grammar/front/regex.h"
#include "grammar/front/schema_branch.h"
#include "grammar/front/schema_vocabulary.h"
#include "grammar/front/schema_words.h"
#include "grammar/typed/decimal.h"

namespace treadle::schema {
namespace {

constexpr size_t kNotes = 200;         // more notes than anybody reads
constexpr uint64_t kNumberCost = 600;  // fuel for one listed number: a node of its own

// Keywords that turn one schema into several alternatives.
bool branches(Keyword keyword) {
  switch (keyword) {
    case Keyword::any_of:
    case Keyword::one_of:
    case Keyword::not_:
    case Keyword::if_:
    case Keyword::dependencies:
    case Keyword::dependent_schemas:
      return true;
    default:
      return false;
  }
}

}  // namespace

Checker::Checker(Store& store, const SourceRef& source, const Index& index, const Limits& limits,
                 Notes& notes, Fuel& fuel)
    : store_(store),
      source_(source),
      index_(index),
      scopes_(*source, index),
      limits_(limits),
      notes_(notes),
      fuel_(fuel) {}

Status Checker::run() {
  need(source_->root());
  do {
    while (!tasks_.empty()) {
      if (!fuel_.spend(2)) return fuel_.status();
      const Task task = tasks_.back();
      tasks_.pop_back();
      Status status = task.origin == json::kNone ? visit(task) : visit_refuted(task);
      if (!status.ok()) return status;
      if (!store_.ok()) return store_.fault();
    }
    if (Status status = find_loops(); !status.ok()) return status;
    std::vector<uint32_t> tracing;
    tracing.swap(tracing_);
    for (const uint32_t argument : tracing) {
      if (Status status = trace(source_->at(argument)); !status.ok()) return status;
    }
    if (!tasks_.empty()) continue;
    if (Status status = part_choices(); !status.ok()) return status;
  } while (!tasks_.empty());
  if (Status status = check_uniques(); !status.ok()) return status;
  return count_branches();
}

// A schema with too many alternatives is refused now, not when a text first reaches it.
Status Checker::count_branches() {
  for (const uint32_t node : branching_) {
    const Conj alone{Sub{node, As::schema}};
    const auto forms = forms_of(store_, *source_, alone, false, limits_, fuel_);
    if (!forms) return forms.status();
    if (!store_.ok()) return store_.fault();
  }
  return ok_status();
}

void Checker::note(json::Value argument, std::string text) {
  if (notes_.size() >= kNotes) return;
  Note made{source_->pointer(argument), std::string(argument.key()), std::move(text)};
  const bool copied = source_->original(argument.index()) != argument.index();
  const auto same = [&](const Note& other) {
    return other.at == made.at && other.text == made.text;
  };
  if (copied && std::any_of(notes_.begin(), notes_.end(), same)) return;
  notes_.push_back(std::move(made));
}

// An argument that cannot be enforced: an error, or with `lenient` no constraint and a note.
Status Checker::refuse(json::Value argument, std::string text) {
  if (source_->options.lenient) {
    if (source_->dropped.insert(argument.index()).second) note(argument, "dropped: " + text);
    return ok_status();
  }
  std::string keyword(argument.key());
  return unsupported(source_->pointer(argument),
                     text + "; remove it or allow weaker output with lenient=true",
                     std::move(keyword));
}

// What a schema says by itself, whether it is to hold or to fail: well formed, references and
// patterns resolved.
Status Checker::read(json::Value schema) {
  if (seen(schema.index()) & kRead) return ok_status();
  seen(schema.index()) |= kRead;
  if (schema.is_boolean()) return ok_status();
  if (!schema.is_object()) return wrong(schema, "a schema (an object, true or false)");
  const bool only_ref = source_->ref_hides(schema);
  for (const json::Value argument : schema) {
    if (only_ref && argument.key() != "$ref") continue;
    if (!fuel_.spend(1)) return fuel_.status();
    if (Status status = read_keyword(argument); !status.ok()) return status;
  }
  return ok_status();
}

Status Checker::visit(const Task& task) {
  const json::Value schema = source_->at(task.node);
  if (seen(task.node) & kHolds) return ok_status();
  seen(task.node) |= kHolds;
  if (Status status = read(schema); !status.ok() || !schema.is_object()) return status;
  const bool only_ref = source_->ref_hides(schema);
  for (const json::Value argument : schema) {
    if (source_->ignored(argument) || (only_ref && argument.key() != "$ref")) continue;
    if (!fuel_.spend(1)) return fuel_.status();
    if (Status status = visit_keyword(schema, argument); !status.ok()) return status;
  }
  return ok_status();
}

// Keywords that the dialect of the document does not know.
bool Checker::foreign(Keyword keyword) const {
  if (vocabulary_of(keyword) & source_->left_out) return true;
  const Dialect dialect = source_->dialect;
  switch (keyword) {
    case Keyword::const_:
    case Keyword::contains:
    case Keyword::property_names:
      return dialect < Dialect::draft6;
    case Keyword::if_:
    case Keyword::then_:
    case Keyword::else_:
      return dialect < Dialect::draft7;
    case Keyword::dependent_required:
    case Keyword::dependent_schemas:
    case Keyword::unevaluated_items:
    case Keyword::unevaluated_properties:
    case Keyword::recursive_ref:
      return dialect < Dialect::draft2019;
    case Keyword::prefix_items:
    case Keyword::dynamic_ref:
      return dialect < Dialect::draft2020;
    case Keyword::min_contains:
    case Keyword::max_contains:
      return dialect < Dialect::draft2019;
    default:
      return false;
  }
}

Status Checker::read_keyword(json::Value argument) {
  const Keyword keyword = keyword_of(argument.key());
  if (foreign(keyword)) {
    source_->dropped.insert(argument.index());
    note(argument, "not a keyword of the dialect that $schema names; ignored");
    return ok_status();
  }
  if (Status status = syntax(argument, keyword); !status.ok()) return status;
  switch (keyword) {
    case Keyword::enum_: {
      const auto numbers = std::count_if(argument.begin(), argument.end(),
                                         [](json::Value value) { return value.is_number(); });
      return fuel_.spend(static_cast<uint64_t>(numbers) * kNumberCost) ? ok_status()
                                                                       : fuel_.status();
    }
    case Keyword::multiple_of:
      if (Step::of(*Decimal::parse(argument.text()))) return ok_status();
      return refuse(argument, "a step with more than 18 digits");
    case Keyword::pattern:
      return read_text(argument, keyword);
    case Keyword::pattern_properties:
      return read_patterns(argument);
    case Keyword::format:
      return read_format(argument);
    case Keyword::required:
      if (argument.is_boolean()) return refuse(argument, "a boolean `required` is draft 3");
      return ok_status();
    case Keyword::dependent_required:
    case Keyword::dependencies:
      for (const json::Value part : argument) {
        if (!part.is_array() && keyword == Keyword::dependencies) continue;
        if (Status status = names(part); !status.ok()) return status;
      }
      return ok_status();
    case Keyword::ref:
    case Keyword::dynamic_ref:
    case Keyword::recursive_ref:
      return read_reference(argument, keyword);
    case Keyword::draft3:
      return refuse(argument, "a keyword of draft 3");
    case Keyword::unknown:
      note(argument, "unknown keyword, taken as an annotation");
      return ok_status();
    case Keyword::schema: {
      bool known = argument.is_string();
      if (known) dialect_of(argument.text(), known);
      // One that is not known was refused, but for `lenient` and for resources that say more.
      if (!known && source_->dialect == Dialect::any) {
        note(argument, "unknown dialect, read as 2020-12 with older spellings");
      }
      return ok_status();
    }
    default:
      return ok_status();
  }
}

Status Checker::visit_keyword(json::Value schema, json::Value argument) {
  const Keyword keyword = keyword_of(argument.key());
  if (branches(keyword) && (branching_.empty() || branching_.back() != schema.index())) {
    branching_.push_back(schema.index());
  }
  Status status = visit_applicator(schema, argument, keyword);
  if (status.ok()) status = visit_array(argument, keyword);
  return status.ok() ? visit_object(schema, argument, keyword) : status;
}

// Schemas for the same value.
Status Checker::visit_applicator(json::Value schema, json::Value argument, Keyword keyword) {
  switch (keyword) {
    case Keyword::one_of:
      one_ofs_.push_back(argument.index());
      [[fallthrough]];
    case Keyword::all_of:
    case Keyword::any_of:
      for (const json::Value part : argument) need(part);
      break;
    case Keyword::not_:
      need_refuted(argument, argument);
      break;
    case Keyword::if_:
      if (!schema.get("then") && !schema.get("else")) break;
      need(argument);
      need_refuted(argument, argument);
      break;
    case Keyword::then_:
    case Keyword::else_:
      if (schema.get("if")) need(argument);
      break;
    case Keyword::ref:
    case Keyword::dynamic_ref:
    case Keyword::recursive_ref:
      if (const auto found = source_->refs.find(argument.index()); found != source_->refs.end()) {
        need(source_->at(found->second));
      }
      break;
    default:
      break;
  }
  return ok_status();
}

Status Checker::visit_array(json::Value argument, Keyword keyword) {
  switch (keyword) {
    case Keyword::prefix_items:
      for (const json::Value part : argument) need(part);
      break;
    case Keyword::items:
      if (argument.is_array()) {
        for (const json::Value part : argument) need(part);
      } else {
        need(argument);
      }
      break;
    case Keyword::additional_items: {
      const json::Value items = argument.parent().get("items");
      if (items && items.is_array()) need(argument);
      break;
    }
    case Keyword::contains: {
      uint32_t min = 0, max = kOpen;
      if (!contains_bounds(*source_, argument, min, max)) break;
      need(argument);
      if (max != kOpen) need_refuted(argument, argument);  // the items that do not count
      break;
    }
    case Keyword::unique_items: {
      const json::Value most = argument.parent().get("maxItems");
      if (!argument.truth() || (most && most.is_number() && count_of(most) <= 1)) break;
      uniques_.push_back(argument.index());
      break;
    }
    case Keyword::unevaluated_items:
      if (!says_nothing(argument)) tracing_.push_back(argument.index());
      need(argument);
      break;
    default:
      break;
  }
  return ok_status();
}

// Whether the front end can tell `least` distinct keys of the object: named keys and one other are
// (see SchemaOptions). So required keys cover the number, or all keys can be listed.
Result<bool> Checker::countable(json::Value schema, uint32_t least) {
  const json::Value required = schema.get("required");
  const uint32_t sure = required && required.is_array() ? required.size() : 0;
  if (sure + 1 >= least) return true;
  const auto keyword = [&](std::string_view name) {
    const json::Value argument = schema.get(name);
    return argument && source_->ignored(argument) ? json::Value() : argument;
  };
  const json::Value names = keyword("propertyNames");
  const json::Value other = keyword("additionalProperties");
  NodeRef text = store_.any_text();
  if (names) {
    const Conj conj{Sub{names.index(), As::schema}};
    const auto allowed = text_of(store_, *source_, conj, false, limits_, fuel_);
    if (!allowed) return allowed.status();
    text = store_.both(text, *allowed);
  }
  if (other && other.is_boolean() && !other.truth()) {
    std::vector<NodeRef> choices;
    if (const json::Value patterns = keyword("patternProperties")) {
      for (const json::Value member : patterns) {
        const auto found = source_->key_patterns.find(member.index());
        if (found != source_->key_patterns.end()) choices.push_back(found->second);
      }
    }
    text = store_.both(text, store_.any_of(choices));
  }
  return words_of(store_, text, fuel_).has_value();
}

Status Checker::visit_object(json::Value schema, json::Value argument, Keyword keyword) {
  switch (keyword) {
    case Keyword::properties:
    case Keyword::pattern_properties:
    case Keyword::dependent_schemas:
      for (const json::Value part : argument) need(part);
      break;
    case Keyword::additional_properties:
    case Keyword::property_names:
      need(argument);
      break;
    case Keyword::dependencies:
      for (const json::Value part : argument) {
        if (!part.is_array()) need(part);
      }
      break;
    case Keyword::min_properties: {
      const Result<bool> known = countable(schema, count_of(argument));
      if (!known) return known.status();
      if (*known) break;
      return refuse(argument, "a minimum above 1 of keys without names cannot be enforced yet");
    }
    case Keyword::unevaluated_properties:
      if (!says_nothing(argument)) tracing_.push_back(argument.index());
      need(argument);
      break;
    default:
      break;
  }
  return ok_status();
}

Status Checker::read_reference(json::Value argument, Keyword keyword) {
  const json::Value written = source_->at(source_->original(argument.index()));
  const auto target = index_.find(written, argument.text());
  if (!target) {
    return refuse(argument, "the reference \"" + std::string(argument.text().substr(0, 80)) +
                                "\" leads out of the document");
  }
  uint32_t to = *target;
  if (index_.dynamic()) {
    const Result<uint32_t> scoped = scopes_.follow(argument, keyword, to, fuel_);
    if (!scoped) return scoped.status();
    to = *scoped;
  }
  source_->refs[argument.index()] = to;
  return ok_status();
}

Status Checker::read_text(json::Value argument, Keyword keyword) {
  const bool key = keyword == Keyword::pattern_properties;
  const std::string pattern(key ? argument.key() : argument.text());
  auto found = patterns_.find(pattern);
  if (found == patterns_.end()) {
    RegexOptions options;
    options.search = true;
    const Result<NodeRef> text = parse_regex(store_, pattern, options, limits_);
    if (!text) {
      Status status = text.status();
      const std::string at = source_->pointer(argument);
      if (status.code == Code::limit_exceeded) {
        status.at = at;
        return status;
      }
      const std::string reason = status.at + ": " + status.text;
      if (status.reason == Reason::unsupported) return refuse(argument, reason);
      return syntax_error(at, reason, key ? "patternProperties" : "pattern");
    }
    found = patterns_.emplace(pattern, *text).first;
  }
  (key ? source_->key_patterns : source_->texts)[argument.index()] = found->second;
  return ok_status();
}

Status Checker::read_patterns(json::Value argument) {
  for (const json::Value member : argument) {
    if (Status status = read_text(member, Keyword::pattern_properties); !status.ok()) {
      status.keyword = "patternProperties";
      return status;
    }
  }
  // A pattern that was dropped takes the whole keyword's classification of keys with it.
  const bool lost = std::any_of(argument.begin(), argument.end(), [&](json::Value member) {
    return source_->dropped.contains(member.index());
  });
  if (lost) {
    const json::Value other = argument.parent().get("additionalProperties");
    if (other) source_->dropped.insert(other.index());
  }
  return ok_status();
}

Status Checker::read_format(json::Value argument) {
  if (!source_->options.assert_formats) return ok_status();
  const std::string name(argument.text());
  const FormatKind kind = format_kind(name);
  if (kind == FormatKind::annotation) return ok_status();
  if (kind == FormatKind::unknown) {
    note(argument, "unknown format \"" + name.substr(0, 80) + "\", taken as an annotation");
    return ok_status();
  }
  if (kind == FormatKind::subset) {
    if (source_->options.exact_formats) {
      return refuse(argument, "only a part of the format " + name + " can be offered");
    }
    note(argument, "a subset of the format " + name + " is offered");
  }
  source_->texts[argument.index()] = Source::kLater;
  return ok_status();
}

}  // namespace treadle::schema
