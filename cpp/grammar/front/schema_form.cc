#include "grammar/front/schema_form.h"

#include <algorithm>
#include <utility>

#include "grammar/front/choice.h"
#include "grammar/front/schema_branch.h"
#include "grammar/front/schema_length.h"

namespace treadle::schema {
namespace {

// Fuel, in units of about 30 ns.
constexpr uint64_t kSubCost = 16;
constexpr uint64_t kCopyCost = 32;
constexpr uint64_t kLookCost = 2;
constexpr uint64_t kLengthCost = 100;

Decimal decimal_of(json::Value value) {
  return Decimal::parse(value.text()).value_or(Decimal{});  // schema_check has read it before
}

bool less(const Decimal& a, const Decimal& b) {
  return compare(a, b) < 0;
}

void keep_numbers(Form& form, std::vector<Decimal> allowed) {
  std::sort(allowed.begin(), allowed.end(), less);
  allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
  if (!form.numbers) {
    form.numbers = std::move(allowed);
    return;
  }
  std::vector<Decimal> both;
  std::set_intersection(form.numbers->begin(), form.numbers->end(), allowed.begin(), allowed.end(),
                        std::back_inserter(both), less);
  form.numbers = std::move(both);
}

// The key that an absent, missing or present sub is about.
std::string_view key_name(json::Value node) {
  const bool item = node.parent() && node.parent().is_array();
  return item ? node.text() : node.key();
}

}  // namespace

uint32_t count_of(json::Value argument) {
  const Decimal value = decimal_of(argument);
  if (value.magnitude() > 9) return kOpen - 1;
  return static_cast<uint32_t>(natural::small(scaled_down(value, 0)).value_or(0));
}

void apply_type(Form& form, json::Value argument, bool holds, Dialect dialect) {
  uint8_t bits = 0;
  bool number = false, integer = false;
  const auto add = [&](json::Value name) {
    bits |= type_bits(name.text(), integer);
    number |= name.text() == "number";
  };
  if (argument.is_string()) {
    add(argument);
  } else {
    for (const json::Value name : argument) add(name);
  }
  const json::Value nullable = argument.parent().get("nullable");
  if (nullable && nullable.is_boolean() && nullable.truth()) bits |= kNull;
  if (!holds) {
    if (integer && !number) {
      bits &= ~kNumber;
      if (dialect == Dialect::draft4) {
        form.split_spelling = true;
      } else {
        form.number.avoid.push_back(Step{1, 0});
      }
    }
    form.types &= ~bits;
    return;
  }
  form.types &= bits;
  if (integer && !number) {
    if (dialect == Dialect::draft4) form.whole_spelling = true;
    // One has every power of ten as a multiple, so this step merges with any other.
    form.number.step = form.number.step.with(Step{1, 0}).value_or(form.number.step);
  }
}

void apply_values(Store& store, Form& form, std::vector<json::Value> values) {
  uint8_t types = 0;
  std::vector<Decimal> numbers;
  std::vector<std::string_view> texts;
  for (const json::Value value : values) {
    switch (value.kind()) {
      case json::Kind::null:
        types |= kNull;
        break;
      case json::Kind::boolean:
        types |= value.truth() ? kTrue : kFalse;
        break;
      case json::Kind::number:
        types |= kNumber;
        numbers.push_back(decimal_of(value));
        break;
      case json::Kind::string:
        types |= kString;
        texts.push_back(value.text());
        break;
      case json::Kind::array:
      case json::Kind::object:
        break;
    }
  }
  form.types &= types;
  if (types & kNumber) keep_numbers(form, std::move(numbers));
  if (types & kString) form.texts.push_back(literal_trie(store, texts));
}

void apply_other_values(Store& store, Form& form, const std::vector<json::Value>& values) {
  std::vector<std::string_view> texts;
  for (const json::Value value : values) {
    if (value.is_null()) form.types &= ~kNull;
    if (value.is_boolean()) form.types &= ~(value.truth() ? kTrue : kFalse);
    if (value.is_number()) form.not_numbers.push_back(decimal_of(value));
    if (value.is_string()) texts.push_back(value.text());
  }
  if (!texts.empty()) form.not_texts.push_back(literal_trie(store, texts));
}

void apply_literal(Store& store, Form& form, json::Value value) {
  const Sub sub{value.index(), As::literal};
  if (value.is_array()) {
    form.types &= kArray;
    form.arrays.push_back(sub);
    form.min_items = std::max(form.min_items, value.size());
    form.max_items = std::min(form.max_items, value.size());
  } else if (value.is_object()) {
    form.types &= kObject;
    form.objects.push_back(sub);
    for (const json::Value member : value) form.required.push_back(member.key());
  } else {
    apply_values(store, form, {value});
  }
}

// The place of an item in its array.
uint32_t item_index(json::Value item) {
  uint32_t index = 0;
  for (json::Value at = item.parent().first(); at.index() != item.index(); at = at.next()) ++index;
  return index;
}

// A member or item is there and is not as the node says.
void apply_failing_part(Form& form, Sub sub, json::Value node) {
  const Sub part{sub.node, sub.as == As::violated ? As::refuted : As::differs};
  if (node.parent().is_array()) {
    form.types &= kArray;
    form.arrays.push_back(part);
    form.min_items = std::max(form.min_items, item_index(node) + 1);
  } else {
    form.types &= kObject;
    form.objects.push_back(part);
    form.required.push_back(node.key());
  }
}

void apply_key(Form& form, Sub sub, json::Value node) {
  if (sub.as != As::absent) form.types &= kObject;
  if (sub.as == As::present) {
    form.required.push_back(key_name(node));
  } else {
    form.absent.push_back(key_name(node));
  }
}

// The argument of minimum or exclusiveMinimum as a bound; none for draft 4's boolean.
std::optional<Bound> bound_of(json::Value argument, bool low) {
  if (!argument.is_number()) return std::nullopt;
  const std::string_view plain = low ? "minimum" : "maximum";
  if (argument.key() != plain) return Bound{decimal_of(argument), true};
  const json::Value flag = argument.parent().get(low ? "exclusiveMinimum" : "exclusiveMaximum");
  return Bound{decimal_of(argument), flag && flag.is_boolean() && flag.truth()};
}

Status apply_number(Form& form, Keyword keyword, const Source& source, json::Value argument) {
  switch (keyword) {
    case Keyword::minimum:
    case Keyword::exclusive_minimum:
      if (const auto bound = bound_of(argument, true)) form.number.at_least(*bound);
      return ok_status();
    case Keyword::maximum:
    case Keyword::exclusive_maximum:
      if (const auto bound = bound_of(argument, false)) form.number.at_most(*bound);
      return ok_status();
    default:
      break;
  }
  const auto step = Step::of(decimal_of(argument));
  const auto joined = step ? form.number.step.with(*step) : std::nullopt;
  if (!joined) {
    return limit_exceeded("number_digits", 19, 18, source.pointer(argument));
  }
  form.number.step = *joined;
  return ok_status();
}

bool apply_count(Form& form, Keyword keyword, json::Value argument) {
  const auto raise = [&](uint32_t& low) { low = std::max(low, count_of(argument)); };
  const auto lower = [&](uint32_t& high) { high = std::min(high, count_of(argument)); };
  switch (keyword) {
    case Keyword::min_length:
      raise(form.min_length);
      return true;
    case Keyword::max_length:
      lower(form.max_length);
      return true;
    case Keyword::min_items:
      raise(form.min_items);
      return true;
    case Keyword::max_items:
      lower(form.max_items);
      return true;
    case Keyword::min_properties:
      raise(form.min_properties);
      return true;
    case Keyword::max_properties:
      lower(form.max_properties);
      return true;
    default:
      return false;
  }
}

// Drops the types that the other constraints leave without a value, and puts lists in order.
void settle(Form& form) {
  const auto tidy = [](auto& list) {
    if (list.size() < 2) return;
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  tidy(form.texts);
  tidy(form.not_texts);
  std::sort(form.number.avoid.begin(), form.number.avoid.end());
  tidy(form.arrays);
  tidy(form.objects);  // document order, which `order` declared follows
  tidy(form.counts);
  tidy(form.somes);
  tidy(form.needs);
  tidy(form.required);
  tidy(form.absent);
  if (form.numbers && form.numbers->empty()) form.types &= ~kNumber;
  if (form.whole_spelling && form.split_spelling) form.types &= ~kNumber;
  if (form.min_length > form.max_length) form.types &= ~kString;
  for (const ItemCount& count : form.counts) {
    if (count.min > count.max || count.min >= kOpen - count.from) form.types &= ~kArray;
    if (count.min > 0 && form.max_items < count.from + count.min) form.types &= ~kArray;
  }
  if (form.min_items > form.max_items) form.types &= ~kArray;
  if (form.min_properties > form.max_properties) form.types &= ~kObject;
  for (const std::string_view key : form.required) {
    if (std::binary_search(form.absent.begin(), form.absent.end(), key)) form.types &= ~kObject;
  }
}

// `dependentRequired` as choices: the key is absent, or it is there with all that it needs.
void open_needs(const Source& source, Branch& branch) {
  for (const uint32_t argument : branch.form.needs) {
    for (const json::Value member : source.at(argument)) {
      if (!member.is_array()) continue;
      Conj with{Sub{member.index(), As::present}};
      for (const json::Value need : member) with.push_back(Sub{need.index(), As::present});
      branch.groups.push_back({Conj{Sub{member.index(), As::absent}}, std::move(with)});
    }
  }
  branch.form.needs.clear();
}

enum class Truth : uint8_t { open, holds, fails };

// Whether the branch holds the opposite of what is said of a schema as a whole.
Truth truth_of_schema(const Branch& branch, Sub sub) {
  if (sub.as != As::schema && sub.as != As::refuted) return Truth::open;
  const As opposite = sub.as == As::schema ? As::refuted : As::schema;
  return branch.has({sub.node, opposite}) ? Truth::fails : Truth::open;
}

// What the branch says already about a condition.
Truth truth_of(const Source& source, const Branch& branch, Sub sub, uint64_t& looked) {
  if (branch.has(sub)) return Truth::holds;
  const bool object = (branch.form.types & ~kObject) == 0;
  const auto listed = [&](const std::vector<std::string_view>& keys) {
    return std::find(keys.begin(), keys.end(), key_name(source.at(sub.node))) != keys.end();
  };
  switch (sub.as) {
    case As::schema:
    case As::refuted:
      return truth_of_schema(branch, sub);
    case As::present:
      if (listed(branch.form.absent)) return Truth::fails;
      return object && listed(branch.form.required) ? Truth::holds : Truth::open;
    case As::absent:
    case As::missing:
      if (object && listed(branch.form.required)) return Truth::fails;
      return object && listed(branch.form.absent) ? Truth::holds : Truth::open;
    case As::violated:
    case As::changed:
      if (source.at(sub.node).parent().is_array()) return Truth::open;
      if (listed(branch.form.absent)) return Truth::fails;
      if (sub.as == As::violated) {
        const auto fails = fails_surely(source, branch, source.at(sub.node), looked);
        if (fails) return *fails ? Truth::holds : Truth::fails;
      }
      return Truth::open;
    default:
      return Truth::open;
  }
}

// Drops choices that fail and groups that are met, so that they do not multiply.
bool prune(const Source& source, Branch& branch, Fuel& fuel) {
  uint64_t looked = 0;
  std::erase_if(branch.groups, [&](std::vector<Conj>& group) {
    bool met = false;
    std::erase_if(group, [&](const Conj& choice) {
      bool holds = true;
      for (const Sub sub : choice) {
        ++looked;
        const Truth truth = truth_of(source, branch, sub, looked);
        if (truth == Truth::fails) return true;
        holds &= truth == Truth::holds;
      }
      met |= holds;
      return false;
    });
    return met;
  });
  return fuel.spend(looked * kLookCost);
}

Result<std::vector<Form>> forms_of(Store& store, Source& source, const Conj& conj, bool loose,
                                   const Limits& limits, Fuel& fuel) {
  std::vector<Form> out;
  std::vector<Branch> open(1);
  open[0].pending = conj;
  while (!open.empty()) {
    Branch branch = std::move(open.back());
    open.pop_back();
    while (!branch.pending.empty() && branch.form.types != 0) {
      if (!fuel.spend(kSubCost)) return fuel.status();
      const Sub sub = branch.pending.back();
      branch.pending.pop_back();
      if (!branch.enter(sub)) continue;
      if (truth_of_schema(branch, sub) == Truth::fails) branch.form.types = 0;
      if (Status status = apply(store, source, branch, sub, loose); !status.ok()) return status;
    }
    if (branch.form.types == 0) continue;
    if (!prune(source, branch, fuel)) return fuel.status();
    if (branch.groups.empty() && !branch.form.somes.empty() && !branch.form.needs.empty()) {
      open_needs(source, branch);
      open.push_back(std::move(branch));
    } else if (branch.groups.empty()) {
      close_scopes(source, branch);
      settle(branch.form);
      if (branch.form.types != 0) out.push_back(std::move(branch.form));
    } else {
      // Narrow choices first: they prune the wide ones.
      const auto group =
          std::min_element(branch.groups.begin(), branch.groups.end(),
                           [](const auto& a, const auto& b) { return a.size() < b.size(); });
      const std::vector<Conj> choices = std::move(*group);
      branch.groups.erase(group);
      if (!fuel.spend(choices.size() * kCopyCost)) return fuel.status();
      for (size_t i = choices.size(); i-- > 0;) {
        open.push_back(branch);
        auto& pending = open.back().pending;
        pending.insert(pending.end(), choices[i].begin(), choices[i].end());
      }
    }
    if (out.size() + open.size() > limits.branches) {
      return limit_exceeded("branches", static_cast<double>(out.size() + open.size()),
                            static_cast<double>(limits.branches),
                            conj.empty() ? "" : source.pointer(source.at(conj[0].node)));
    }
  }
  return out;
}

namespace {

// What the patterns and formats of the form match together, and what is left of the bounds on the
// length that they do not keep by themselves.
struct Texts {
  NodeRef node;
  uint32_t least, most;
  bool none = false;  // no length will do
};

Texts texts_of(Store& store, const Form& form) {
  Texts out{store.anything(), form.min_length, form.max_length};
  for (const NodeRef part : form.texts) out.node = store.both(out.node, part);
  if (form.texts.empty() || (out.least == 0 && out.most == kOpen)) return out;
  const TextLength length = length_of(store, out.node);
  out.none = length.most < out.least || (out.most != kOpen && length.least > out.most);
  if (length.least >= out.least) out.least = 0;
  if (length.most <= out.most) out.most = kOpen;
  return out;
}

}  // namespace

bool afford_text(Store& store, const Form& form, Fuel& fuel) {
  const bool walks = !form.texts.empty() || !form.not_texts.empty();
  if (!walks || form.min_length == 0) return true;
  return fuel.spend(texts_of(store, form).least * kLengthCost);
}

NodeRef form_text(Store& store, const Form& form) {
  const Texts texts = texts_of(store, form);
  if (texts.none) return store.empty();
  NodeRef text = texts.node;
  const bool counted = texts.least > 0 || texts.most != kOpen;
  // Patterns hold valid UTF-8 only; nothing else does.
  if (counted || form.texts.empty()) {
    text = store.both(text, store.repeat(store.any_char(), texts.least, texts.most));
  }
  for (const NodeRef part : form.not_texts) text = store.both(text, store.complement(part));
  return text;
}

Result<NodeRef> text_of(Store& store, Source& source, const Conj& conj, bool loose,
                        const Limits& limits, Fuel& fuel) {
  if (conj.empty()) return store.any_text();
  auto forms = forms_of(store, source, conj, loose, limits, fuel);
  if (!forms) return forms.status();
  std::vector<NodeRef> choices;
  for (const Form& form : *forms) {
    if (!(form.types & kString)) continue;
    if (!afford_text(store, form, fuel)) return fuel.status();
    choices.push_back(form_text(store, form));
  }
  return store.any_of(choices);
}

}  // namespace treadle::schema
