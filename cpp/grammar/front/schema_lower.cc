// From typed forms to nodes of the IR, and the rule that does so when a value is first reached.
#include <algorithm>
#include <utility>

#include "grammar/front/formats.h"
#include "grammar/front/schema_array.h"
#include "grammar/front/schema_form.h"
#include "grammar/front/schema_object.h"
#include "grammar/front/styles.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/str.h"
#include "support/hash.h"

namespace treadle::schema {
namespace {

NumberSet between(const NumberSet& set, const std::optional<Bound>& lo,
                  const std::optional<Bound>& hi) {
  NumberSet part = set;
  if (lo) part.at_least(*lo);
  if (hi) part.at_most(*hi);
  return part;
}

class Value final : public Typed {
 public:
  Value(SourceRef source, Conj conj, bool loose, Place place, bool certain)
      : Typed(TypedTag::value, false, certain),
        source_(std::move(source)),
        conj_(std::move(conj)),
        loose_(loose),
        place_(place) {}

  uint64_t hash() const override {
    uint64_t h = static_cast<uint64_t>(place_.role) << 1 | (loose_ ? 1 : 0);
    h = mix(static_cast<uint64_t>(tag), static_cast<uint64_t>(place_.depth) << 8 | h);
    h = mix(h, source_->serial);
    for (const Sub sub : conj_)
      h = mix(h, static_cast<uint64_t>(sub.node) << 8 | static_cast<uint8_t>(sub.as));
    return h;
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const Value&>(other);
    return source_ == that.source_ && conj_ == that.conj_ && loose_ == that.loose_ &&
           place_ == that.place_;
  }
  uint64_t bytes() const override { return sizeof(Value) + conj_.size() * sizeof(Sub); }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override;
  Result<NodeRef> witness(Store& store, Fuel& fuel) const override {
    // Wherever it stands: deeper and deeper places would have no end.
    return store.body(source_->value(store, source_, conj_, loose_, {place_.role}), fuel);
  }

 private:
  SourceRef source_;
  Conj conj_;
  bool loose_;
  Place place_;
};

NodeRef numbers_of(Store& store, const Form& form, Spelling spelling) {
  std::vector<NodeRef> out;
  // Integers without a point or an exponent are numbers of their own, not what two languages share.
  const bool digits = form.whole_spelling && !form.split_spelling && spelling == Spelling::any;
  bool shaped = !digits;
  for (NumberSet set : number_sets(form, spelling)) {
    const bool integral = set.step.a != 0 && set.step.b >= 0;
    if (digits && integral) set.spelling = Spelling::whole;
    shaped |= !integral;
    out.push_back(number_node(store, set));
  }
  NodeRef all = store.any_of(out);
  const NodeRef shape = shaped ? number_shape(store, form) : store.empty();
  if (shape == store.empty()) return all;
  all = store.both(all, shape);
  return has_member(store, all) ? all : store.empty();
}

}  // namespace

std::vector<NumberSet> number_sets(const Form& form, Spelling spelling) {
  NumberSet set = form.number;
  set.spelling = spelling;
  std::vector<NumberSet> out;
  std::vector<Decimal> holes = form.not_numbers;
  std::sort(holes.begin(), holes.end(),
            [](const Decimal& a, const Decimal& b) { return compare(a, b) < 0; });
  if (form.numbers) {
    for (const Decimal& value : *form.numbers) {
      if (!form.number.has(value)) continue;
      if (std::find(holes.begin(), holes.end(), value) != holes.end()) continue;
      out.push_back(between(set, Bound{value, false}, Bound{value, false}));
    }
  } else {
    std::optional<Bound> last;
    for (const Decimal& hole : holes) {
      out.push_back(between(set, last, Bound{hole, true}));
      last = Bound{hole, true};
    }
    out.push_back(between(set, last, std::nullopt));
  }
  return out;
}

NodeRef number_shape(Store& store, const Form& form) {
  if (!form.whole_spelling && !form.split_spelling) return store.empty();
  const NodeRef digit = store.byte_set(ByteSet::range('0', '9'));
  const NodeRef whole = store.cat(store.optional(store.bytes("-")), store.plus(digit));
  const NodeRef split = store.complement(whole);
  if (!form.split_spelling) return whole;
  return form.whole_spelling ? store.both(whole, split) : split;
}

Result<NodeRef> json_of(Store& store, const SourceRef& source, const Form& form, uint32_t depth,
                        bool loose, Fuel& fuel) {
  std::vector<NodeRef> out;
  if (form.types & kNull) out.push_back(store.bytes("null"));
  if (form.types & kFalse) out.push_back(store.bytes("false"));
  if (form.types & kTrue) out.push_back(store.bytes("true"));
  if (form.types & kNumber) out.push_back(numbers_of(store, form, source->options.numbers));
  if (form.types & kString) {
    if (!afford_text(store, form, fuel)) return fuel.status();
    const NodeRef quote = store.bytes("\"");
    NodeRef text = string_content(store, form_text(store, form), source->options.escapes);
    if (const NodeRef barred = source->spelling(loose); barred != store.empty()) {
      text = store.both(text, barred);
      if (!has_member(store, text)) text = store.empty();
    }
    out.push_back(store.cat(quote, store.cat(text, quote)));
  }
  if (form.types & kArray) {
    const Result<NodeRef> array = array_of(store, source, form, {Role::json, depth}, loose, fuel);
    if (!array) return array.status();
    out.push_back(*array);
  }
  if (form.types & kObject) {
    const Result<NodeRef> object = object_of(store, source, form, {Role::json, depth}, loose, fuel);
    if (!object) return object.status();
    out.push_back(*object);
  }
  return store.any_of(out);
}

Result<NodeRef> written(Store& store, const SourceRef& source, const Form& form, Place place,
                        bool loose, Fuel& fuel) {
  if (place.role == Role::json) return json_of(store, source, form, place.depth, loose, fuel);
  return styled_of(store, source, form, place, loose, fuel);
}

namespace {

Result<NodeRef> Value::expand(Store& store, Fuel& fuel) const {
  const auto forms = forms_of(store, *source_, conj_, loose_, store.limits(), fuel);
  if (!forms) return forms.status();
  std::vector<NodeRef> out;
  for (const Form& form : *forms) {
    if (!fuel.spend(64)) return fuel.status();
    const Result<NodeRef> node = written(store, source_, form, place_, loose_, fuel);
    if (!node) return node.status();
    out.push_back(*node);
  }
  if (!store.ok()) return store.fault();
  return store.any_of(out);
}

}  // namespace

void add_sub(Conj& conj, Sub sub) {
  const auto place = std::lower_bound(conj.begin(), conj.end(), sub);
  if (place == conj.end() || *place != sub) conj.insert(place, sub);
}

NodeRef Source::value(Store& store, const std::shared_ptr<Source>& self, Conj conj, bool loose,
                      Place place) {
  // `true` says nothing; dropping it lets equal values share one node.
  std::erase_if(conj, [&](Sub sub) {
    const json::Value node = at(sub.node);
    return sub.as == As::schema && node.is_boolean() && node.truth();
  });
  auto [found, fresh] = values_.try_emplace({std::move(conj), loose, place}, 0);
  if (fresh) {
    const Conj& kept = std::get<0>(found->first);
    const bool certain = barred == 0 && place.role == Role::json &&
                         (kept.empty() || (kept.size() == 1 && kept[0].as == As::schema &&
                                           sure(store, kept[0].node)));
    found->second = store.typed(std::make_unique<Value>(self, kept, loose, place, certain));
    if (!store.ok()) {  // the budget ran out: a later step may try again
      values_.erase(found);
      return store.empty();
    }
  }
  return found->second;
}

std::optional<NodeRef> Source::text_at(Store& store, json::Value argument) {
  const auto found = texts.find(argument.index());
  if (found == texts.end()) return std::nullopt;
  if (found->second != kLater) return found->second;
  auto [known, fresh] = formats_.try_emplace(std::string(argument.text()), store.empty());
  if (fresh) {
    const Result<NodeRef> text = format_text(store, argument.text(), store.limits());
    if (!text || !store.ok()) {
      formats_.erase(known);
      if (!text) store.fail(text.status());
      return store.empty();
    }
    known->second = *text;
  }
  return found->second = known->second;
}

json::Value Source::member(json::Value object, std::string_view name) const {
  if (object.size() < 16) return object.get(name);
  auto [found, fresh] = members_.try_emplace(object.index());
  if (fresh) {
    for (const json::Value member : object) found->second.emplace(member.key(), member.index());
  }
  const auto hit = found->second.find(name);
  return hit == found->second.end() ? json::Value() : at(hit->second);
}

}  // namespace treadle::schema
