#include "grammar/front/schema_branch.h"

#include <algorithm>
#include <utility>

#include "grammar/front/formats.h"

namespace treadle::schema {
namespace {

// The alternatives of an enum: its scalars together, each array or object alone.
void apply_enum(Store& store, Branch& branch, json::Value list) {
  std::vector<json::Value> scalars, trees;
  for (const json::Value value : list) {
    (value.is_array() || value.is_object() ? trees : scalars).push_back(value);
  }
  if (trees.empty() || !(branch.form.types & (kArray | kObject))) {
    apply_values(store, branch.form, std::move(scalars));
    return;
  }
  std::vector<Conj> choices;
  for (const json::Value value : list) choices.push_back({Sub{value.index(), As::literal}});
  branch.groups.push_back(std::move(choices));
}

void apply_one_of(const Source& source, Branch& branch, json::Value list, bool loose) {
  std::vector<Conj> choices;
  for (const json::Value choice : list) {
    Conj conj{Sub{choice.index(), As::schema}};
    const auto found = source.rivals.find(choice.index());
    if (!loose && found != source.rivals.end()) {
      for (const uint32_t rival : found->second) conj.push_back(Sub{rival, As::refuted});
    }
    choices.push_back(std::move(conj));
  }
  branch.groups.push_back(std::move(choices));
}

// Each schema of `dependentSchemas` (or the schemas of `dependencies`) holds beside its key.
void apply_dependent(Branch& branch, json::Value members) {
  for (const json::Value member : members) {
    if (member.is_array()) continue;  // dependentRequired's form
    const Conj with{Sub{member.index(), As::present}, Sub{member.index(), As::schema}};
    branch.groups.push_back({Conj{Sub{member.index(), As::absent}}, with});
  }
}

void apply_condition(const Source& source, Branch& branch, json::Value schema, json::Value test) {
  Conj holds{Sub{test.index(), As::schema}};
  Conj fails{Sub{test.index(), As::refuted}};
  const json::Value then = schema.get("then"), other = schema.get("else");
  if (then && !source.ignored(then)) holds.push_back(Sub{then.index(), As::schema});
  if (other && !source.ignored(other)) fails.push_back(Sub{other.index(), As::schema});
  const bool decides = holds.size() + fails.size() > 2 || source.decides(test.index());
  if (decides) branch.groups.push_back({holds, fails});
}

// The last one first, since they are taken up from the end: Branch::done grows at its end then.
void push_all(Conj& pending, json::Value list, As as) {
  const auto before = static_cast<std::ptrdiff_t>(pending.size());
  for (const json::Value schema : list) pending.push_back(Sub{schema.index(), as});
  std::reverse(pending.begin() + before, pending.end());
}

// The members of anyOf that evaluate something, each holding or not; if none holds, another does.
std::vector<Conj> truths_of(const Source& source, json::Value list) {
  std::vector<uint32_t> told, others;
  for (const json::Value choice : list) {
    (source.decides(choice.index()) ? told : others).push_back(choice.index());
  }
  std::vector<Conj> out;
  for (uint32_t holding = 0; holding >> told.size() == 0; ++holding) {
    Conj conj;
    for (size_t i = 0; i < told.size(); ++i) {
      conj.push_back(Sub{told[i], holding >> i & 1 ? As::schema : As::refuted});
    }
    if (holding != 0) {
      out.push_back(std::move(conj));
      continue;
    }
    for (const uint32_t other : others) {
      out.push_back(conj);
      out.back().push_back(Sub{other, As::schema});
    }
  }
  return out;
}

// Keywords that bring in other schemas for the same value.
void apply_applicator(const Source& source, Branch& branch, json::Value schema,
                      json::Value argument, bool loose) {
  switch (keyword_of(argument.key())) {
    case Keyword::ref:
    case Keyword::recursive_ref:
    case Keyword::dynamic_ref:
      if (const auto found = source.refs.find(argument.index()); found != source.refs.end()) {
        branch.pending.push_back(Sub{found->second, As::schema});
      }
      break;
    case Keyword::all_of:
      push_all(branch.pending, argument, As::schema);
      break;
    case Keyword::any_of: {
      std::vector<Conj> choices;
      if (source.decides(argument.index())) {
        branch.groups.push_back(truths_of(source, argument));
        break;
      }
      for (const json::Value choice : argument) {
        choices.push_back({Sub{choice.index(), As::schema}});
      }
      branch.groups.push_back(std::move(choices));
      break;
    }
    case Keyword::one_of:
      apply_one_of(source, branch, argument, loose);
      break;
    case Keyword::not_:
      branch.pending.push_back(Sub{argument.index(), As::refuted});
      break;
    case Keyword::if_:
      apply_condition(source, branch, schema, argument);
      break;
    case Keyword::dependencies:
    case Keyword::dependent_schemas:
      apply_dependent(branch, argument);
      break;
    default:
      break;  // annotations; what has an effect and is not handled here was refused before
  }
}

void apply_object(Form& form, json::Value schema, json::Value argument, Keyword keyword) {
  switch (keyword) {
    case Keyword::properties:
    case Keyword::pattern_properties:
    case Keyword::additional_properties:
      form.objects.push_back(Sub{schema.index(), As::schema});
      break;
    case Keyword::unevaluated_properties:
      form.other_keys.push_back({argument.index(), {schema.index()}});
      break;
    case Keyword::required:
      form.required.reserve(form.required.size() + argument.size());
      for (const json::Value key : argument) form.required.push_back(key.text());
      break;
    case Keyword::dependencies:
    case Keyword::dependent_required:
      form.needs.push_back(argument.index());
      break;
    case Keyword::property_names:
      add_sub(form.names, Sub{argument.index(), As::schema});
      break;
    default:
      break;
  }
}

Status apply_keyword(Store& store, Source& source, Branch& branch, json::Value schema,
                     json::Value argument, bool loose) {
  Form& form = branch.form;
  const Keyword keyword = keyword_of(argument.key());
  if (apply_count(form, keyword, argument)) return ok_status();
  switch (keyword) {
    case Keyword::type:
      apply_type(form, argument, true, source.dialect);
      break;
    case Keyword::enum_:
      apply_enum(store, branch, argument);
      break;
    case Keyword::const_:
      branch.pending.push_back(Sub{argument.index(), As::literal});
      break;
    case Keyword::minimum:
    case Keyword::maximum:
    case Keyword::exclusive_minimum:
    case Keyword::exclusive_maximum:
    case Keyword::multiple_of:
      return apply_number(form, keyword, source, argument);
    case Keyword::format:
      // A proof that nothing is shared with it must think of the whole format.
      if (loose && format_kind(argument.text()) == FormatKind::subset) break;
      [[fallthrough]];
    case Keyword::pattern:
      if (const auto text = source.text_at(store, argument)) form.texts.push_back(*text);
      break;
    case Keyword::contains: {
      ItemCount count{.item = Sub{argument.index(), As::schema}};
      if (contains_bounds(source, argument, count.min, count.max)) form.counts.push_back(count);
      break;
    }
    case Keyword::unique_items:
      form.unique_items |= argument.truth();
      break;
    case Keyword::unevaluated_items:
      form.other_items.push_back({argument.index(), {schema.index()}});
      break;
    case Keyword::items:
    case Keyword::prefix_items:
    case Keyword::additional_items:
      form.arrays.push_back(Sub{schema.index(), As::schema});
      break;
    default:
      apply_object(form, schema, argument, keyword);
      apply_applicator(source, branch, schema, argument, loose);
      break;
  }
  return ok_status();
}

Status apply_schema(Store& store, Source& source, Branch& branch, Sub sub, bool loose) {
  const json::Value schema = source.at(sub.node);
  if (schema.is_boolean()) {
    if (!schema.truth()) branch.form.types = 0;
    return ok_status();
  }
  const bool only_ref = source.ref_hides(schema);
  for (const json::Value argument : schema) {
    if (source.ignored(argument) || (only_ref && argument.key() != "$ref")) continue;
    if (sub.as == As::trunk && argument.key() == "oneOf") continue;
    Status status = apply_keyword(store, source, branch, schema, argument, loose);
    if (!status.ok()) return status;
  }
  return ok_status();
}

// The strings that the schema of a member lists; none where its values may be others.
std::vector<std::string_view> listed(const Source& source, json::Value member) {
  constexpr uint32_t kFewValues = 64;
  if (!member.is_object() || source.ref_hides(member)) return {};
  std::vector<std::string_view> out;
  if (const json::Value only = member.get("const"); only && !source.ignored(only)) {
    if (only.is_string()) out.push_back(only.text());
    return out;
  }
  const json::Value list = member.get("enum");
  if (!list || source.ignored(list) || !list.is_array() || list.size() > kFewValues) return {};
  for (const json::Value value : list) {
    if (!value.is_string()) return {};
    out.push_back(value.text());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Whether two schemas are spelled alike, and so mean the same wherever they stand.
bool alike(json::Value one, json::Value two, uint64_t& looked) {
  constexpr size_t kSmall = 200;  // nodes
  std::vector<std::pair<json::Value, json::Value>> open{{one, two}};
  for (size_t seen = 0; !open.empty(); ++seen) {
    const auto [a, b] = open.back();
    open.pop_back();
    ++looked;
    if (seen == kSmall || a.kind() != b.kind() || a.size() != b.size()) return false;
    if (a.is_boolean() && a.truth() != b.truth()) return false;
    if ((a.is_string() || a.is_number()) && a.text() != b.text()) return false;
    for (json::Value x = a.first(), y = b.first(); x; x = x.next(), y = y.next()) {
      if (x.key() != y.key() || x.key().starts_with('$')) return false;
      open.push_back({x, y});
    }
  }
  return true;
}

// What the branch asks of the member called `key`, one call a schema.
template <class Visit>
void each_member(const Source& source, const Branch& branch, std::string_view key, Visit visit) {
  for (const Sub part : branch.form.objects) {
    if (part.as != As::schema) continue;
    const json::Value members = source.at(part.node).get("properties");
    if (!members || source.ignored(members)) continue;
    if (const json::Value member = source.member(members, key)) visit(member);
  }
}

bool is_property(json::Value member) {
  return member.parent() && member.parent().is_object();
}

bool requires_key(const Branch& branch, std::string_view key) {
  const auto& required = branch.form.required;
  return (branch.form.types & ~kObject) == 0 &&
         std::find(required.begin(), required.end(), key) != required.end();
}

}  // namespace

std::optional<bool> fails_surely(const Source& source, const Branch& branch, json::Value member,
                                 uint64_t& looked) {
  if (!is_property(member)) return std::nullopt;
  const std::vector<std::string_view> values = listed(source, member);
  const bool there = !values.empty() && requires_key(branch, member.key());
  std::optional<bool> out;
  each_member(source, branch, member.key(), [&](json::Value own) {
    const bool same = own.index() == member.index();
    if (same || (!source.options.lenient && alike(own, member, looked))) out = false;
    if (out || !there) return;
    const std::vector<std::string_view> allowed = listed(source, own);
    looked += allowed.size();
    const auto shared = [&](std::string_view value) {
      return std::binary_search(values.begin(), values.end(), value);
    };
    if (!allowed.empty() && std::ranges::none_of(allowed, shared)) out = true;
  });
  looked += branch.form.objects.size() + values.size();
  return out;
}

bool Branch::has(Sub sub) const {
  return std::binary_search(done.begin(), done.end(), sub);
}

bool Branch::enter(Sub sub) {
  const auto place = std::lower_bound(done.begin(), done.end(), sub);
  if (place != done.end() && *place == sub) return false;
  done.insert(place, sub);
  return true;
}

Status apply(Store& store, Source& source, Branch& branch, Sub sub, bool loose) {
  const json::Value node = source.at(sub.node);
  switch (sub.as) {
    case As::schema:
    case As::trunk:
      return apply_schema(store, source, branch, sub, loose);
    case As::literal:
      apply_literal(store, branch.form, node);
      break;
    case As::refuted:
      apply_refuted(source, branch, node);
      break;
    case As::keyword:
      apply_refuted_keyword(store, source, branch.form, node);
      break;
    case As::violated:
    case As::changed:
      apply_failing_part(branch.form, sub, node);
      break;
    case As::differs:
      apply_difference(store, branch, node);
      break;
    case As::reshaped:
    case As::shorter:
    case As::longer:
      apply_shape(branch.form, sub, node);
      break;
    case As::some:
      apply_some(source, branch.form, node);
      break;
    case As::fewer:
    case As::more:
      apply_item_failures(source, branch.form, sub, node);
      break;
    case As::absent:
    case As::missing:
    case As::present:
      apply_key(branch.form, sub, node);
      break;
  }
  return ok_status();
}

}  // namespace treadle::schema
