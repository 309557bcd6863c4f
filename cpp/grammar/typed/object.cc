#include "grammar/typed/object.h"

#include <algorithm>
#include <bit>
#include <string>
#include <utility>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/members.h"
#include "grammar/typed/object_outlook.h"
#include "grammar/typed/str.h"
#include "support/hash.h"

namespace treadle {
namespace {

class Members final : public Typed {
 public:
  // `certain`: the object can be completed; so can every object once an offered key has been read.
  Members(ObjectFormRef form, ObjectState state, bool first, bool certain = false)
      : Typed(TypedTag::members, false, certain || !first),
        form_(std::move(form)),
        state_(std::move(state)),
        first_(first) {}

  uint64_t hash() const override {
    return mix(mix(mix(static_cast<uint64_t>(tag), form_->hash), state_.hash()), first_ ? 1 : 0);
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const Members&>(other);
    return first_ == that.first_ && state_ == that.state_ &&
           (form_ == that.form_ || *form_ == *that.form_);
  }
  uint64_t bytes() const override { return sizeof(Members) + state_.seen.bytes(); }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override;
  Result<NodeRef> witness(Store& store, Fuel& fuel) const override;
  NodeRef clamped(Store& store, uint32_t units) const override;

 private:
  NodeRef framed(Store& store, const Outlook& outlook) const;

  ObjectFormRef form_;
  ObjectState state_;
  bool first_;
};

// Far from the maximum the exact number of members read does not matter: even if every named key
// came, more would fit than a text of `units` bytes has.
NodeRef Members::clamped(Store& store, uint32_t units) const {
  const uint64_t near = uint64_t{units} + 1 + form_->keys.size();
  if (form_->max == kOpen || form_->max <= state_.members + near) return store.empty();
  ObjectState state = state_;
  state.members = form_->max - static_cast<uint32_t>(near);
  return store.typed(std::make_unique<Members>(form_, std::move(state), first_, certain));
}

Result<NodeRef> Members::expand(Store& store, Fuel& fuel) const {
  Outlook outlook(store, fuel, *form_, state_);
  if (Status status = outlook.work(); !status.ok()) return status;
  const NodeRef quote = store.bytes("\"");
  std::vector<NodeRef> keys;
  if (form_->frame != nullptr) return framed(store, outlook);
  const auto offer = std::make_shared<const std::vector<Offered>>(std::move(outlook.named));
  const bool barred = form_->barred != store.empty();
  const auto spelled = [&](NodeRef text) {
    const NodeRef name = string_content(store, text, form_->escapes);
    return barred ? store.both(name, form_->barred) : name;
  };
  if (!barred) {
    keys.push_back(
        key_choices(store, form_, state_, offer, 0, static_cast<uint32_t>(offer->size()), 0));
  }
  for (size_t i = 0; barred && i < offer->size(); ++i) {
    const Offered offered = (*offer)[i];
    keys.push_back(store.cat(spelled(store.bytes(form_->keys[offered.key].name)),
                             after_offered(store, form_, state_, offered)));
  }
  for (const uint32_t i : outlook.extras) {
    const ExtraKeys& extra = form_->extras[i];
    keys.push_back(store.cat(spelled(extra.text),
                             after_name(store, form_, state_, {kOpen, extra.gain}, extra.value)));
  }
  const NodeRef member = store.cat(quote, store.any_of(keys));
  const NodeRef close = outlook.closable ? store.bytes("}") : store.empty();
  return end_or_item(store, form_->spacing, first_, close, member);
}

// One more member of an object with a frame.
NodeRef Members::framed(Store& store, const Outlook& outlook) const {
  std::vector<NodeRef> members;
  for (const Offered offered : outlook.named) {
    members.push_back(store.cat(store.bytes(form_->keys[offered.key].name),
                                after_offered(store, form_, state_, offered)));
  }
  for (const uint32_t i : outlook.extras) {
    const ExtraKeys& extra = form_->extras[i];
    members.push_back(
        store.cat(extra.text, after_name(store, form_, state_, {kOpen, extra.gain}, extra.value)));
  }
  const NodeRef parts[] = {form_->spacing.any, store.bytes(form_->frame->begin),
                           store.any_of(members)};
  return store.concat(parts);
}

// The first one can be completed if its required keys have values and the counts agree; then
// optional keys fill up to the minimum.
Result<NodeRef> Members::witness(Store& store, Fuel& fuel) const {
  if (form_->goals != 0) return goals_witness(store, *form_, fuel);
  std::vector<NodeRef> parts;
  std::vector<NodeRef> choices;
  std::vector<bool> must(form_->keys.size(), false);
  std::vector<uint32_t> open;
  const auto visit = [&](uint32_t i) {
    if (must[i]) return;
    must[i] = true;
    open.push_back(i);
  };
  for (uint32_t i = 0; i < must.size(); ++i) {
    if (form_->keys[i].required) visit(i);
  }
  while (!open.empty()) {
    const uint32_t i = open.back();
    open.pop_back();
    parts.push_back(form_->keys[i].value);
    for (const uint32_t need : form_->keys[i].needs) visit(need);
  }
  const auto count = static_cast<uint32_t>(parts.size());
  if (count > form_->max || form_->min > form_->max) return store.empty();
  if (count >= form_->min) return store.concat(parts);
  const uint32_t missing = form_->min - count;
  for (uint32_t i = 0; i < must.size(); ++i) {
    if (!must[i]) choices.push_back(form_->keys[i].value);
  }
  std::vector<NodeRef> extras;
  for (const ExtraKeys& extra : form_->extras) extras.push_back(extra.value);
  if (!extras.empty()) choices.push_back(store.any_of(extras));
  if (missing > choices.size()) return store.empty();
  // some[j]: at least j of the choices seen so far have a value.
  std::vector<NodeRef> some(missing + 1, store.empty());
  some[0] = store.eps();
  for (const NodeRef choice : choices) {
    if (!fuel.spend(missing)) return fuel.status();
    for (uint32_t j = missing; j > 0; --j) {
      some[j] = store.alt(some[j], store.cat(choice, some[j - 1]));
    }
  }
  parts.push_back(some[missing]);
  return store.concat(parts);
}

}  // namespace

void ObjectForm::seal() {
  sorted.resize(keys.size());
  for (uint32_t i = 0; i < sorted.size(); ++i) sorted[i] = i;
  std::sort(sorted.begin(), sorted.end(),
            [&](uint32_t a, uint32_t b) { return keys[a].name < keys[b].name; });
  hash = mix(static_cast<uint64_t>(min) << 32 | max, uint64_t{goals} << 1 | declared_order);
  if (frame != nullptr) hash = hash_bytes(frame->begin, hash);
  hash = mix(mix(hash, barred), spacing.comma);
  for (const ObjectKey& key : keys) {
    hash = mix(hash_bytes(key.name, hash), static_cast<uint64_t>(key.value) << 1 | key.required);
  }
  for (const ExtraKeys& extra : extras) {
    hash = mix(hash, static_cast<uint64_t>(extra.text) << 32 | extra.value);
  }
}

uint32_t SeenKeys::count() const {
  auto total = static_cast<uint32_t>(std::popcount(first_));
  for (const uint64_t word : more_) total += static_cast<uint32_t>(std::popcount(word));
  return total;
}

uint64_t SeenKeys::hash(uint64_t seed) const {
  uint64_t h = mix(seed, first_);
  for (const uint64_t word : more_) h = mix(h, word);
  return h;
}

uint32_t ObjectState::distinct() const {
  return seen.count() + (extra ? 1 : 0);
}

uint64_t ObjectState::hash() const {
  return seen.hash(mix(static_cast<uint64_t>(members) << 32 | next, uint64_t{goals} << 1 | extra));
}

NodeRef json_space(Store& store, uint32_t most) {
  ByteSet set;
  for (const char c : {' ', '\t', '\n', '\r'}) set.insert(static_cast<uint8_t>(c));
  return store.repeat(store.byte_set(set), 0, most);
}

ObjectState after_key(const ObjectForm& form, const ObjectState& state, KeyRead read) {
  ObjectState next = state;
  const uint32_t key = read.key;
  next.goals |= read.gain;
  if (form.max != kOpen) ++next.members;
  if (key == kOpen) {
    next.extra = true;
    if (form.declared_order) next.next = static_cast<uint32_t>(form.keys.size());
  } else {
    next.seen.insert(key);
    if (form.declared_order) next.next = key + 1;
  }
  // Once the named keys alone reach the minimum, the others no longer matter.
  if (next.extra && next.distinct() > form.min) next.extra = false;
  return next;
}

namespace {

// Whether the object may end here: what is required, and what the keys read need, has come.
bool complete(const ObjectForm& form, const ObjectState& state) {
  for (uint32_t i = 0; i < form.keys.size(); ++i) {
    if (form.keys[i].required && !state.has(i)) return false;
    if (!state.has(i)) continue;
    for (const uint32_t need : form.keys[i].needs) {
      if (!state.has(need)) return false;
    }
  }
  return state.distinct() >= form.min && state.goals == form.goals;
}

// The rest of an object with a frame. A rule never matches nothing, so the end stands beside it.
NodeRef framed_rest(Store& store, const ObjectFormRef& form, ObjectState state, bool first) {
  const bool over = complete(*form, state);
  const NodeRef more = store.typed(std::make_unique<Members>(form, std::move(state), first));
  return over ? store.alt(form->spacing.any, more) : more;
}

// Behind the closing quote of a key that has been read: a rule, so that nothing is built for the
// keys that nobody writes, and the names themselves are the same residuals in every object.
class AfterKey final : public Typed {
 public:
  AfterKey(ObjectFormRef form, ObjectState next, NodeRef value)
      : Typed(TypedTag::after_key, false, true),  // only what can be completed is offered
        form_(std::move(form)),
        next_(std::move(next)),
        value_(value) {}

  uint64_t hash() const override {
    return mix(mix(mix(static_cast<uint64_t>(tag), form_->hash), next_.hash()), value_);
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const AfterKey&>(other);
    return value_ == that.value_ && next_ == that.next_ &&
           (form_ == that.form_ || *form_ == *that.form_);
  }
  uint64_t bytes() const override { return sizeof(AfterKey) + next_.seen.bytes(); }
  // Asked for every key that ends inside a token, nearly always in vain.
  ByteSet first(Store& store) const override { return store.first(form_->spacing.colon); }
  Result<NodeRef> expand(Store& store, Fuel&) const override {
    const NodeRef rest = store.typed(std::make_unique<Members>(form_, next_, false));
    const NodeRef parts[] = {form_->spacing.colon, value_, rest};
    return store.concat(parts);
  }

 private:
  ObjectFormRef form_;
  ObjectState next_;
  NodeRef value_;
};

// The same for an object with a frame, from the end of the key.
NodeRef framed_value(Store& store, const ObjectFormRef& form, ObjectState next, KeyRead read,
                     NodeRef value) {
  const NodeRef rest = framed_rest(store, form, std::move(next), false);
  if (form->frame->end.empty() || read.key == kOpen) return store.cat(value, rest);
  std::string end(form->frame->end);
  end += form->keys[read.key].name;
  end += form->frame->end_after;
  const NodeRef parts[] = {value, store.bytes(end), rest};
  return store.concat(parts);
}

}  // namespace

NodeRef after_name(Store& store, const ObjectFormRef& form, const ObjectState& state, KeyRead read,
                   NodeRef value) {
  ObjectState next = after_key(*form, state, read);
  if (form->frame != nullptr) return framed_value(store, form, std::move(next), read, value);
  return store.cat(store.bytes("\""),
                   store.typed(std::make_unique<AfterKey>(form, std::move(next), value)));
}

NodeRef after_offered(Store& store, const ObjectFormRef& form, const ObjectState& state,
                      Offered offered) {
  const ObjectKey& key = form->keys[offered.key];
  if (offered.ways == 1) {
    return after_name(store, form, state, {offered.key, key.gain}, key.value);
  }
  std::vector<NodeRef> ways;
  if (offered.ways & 1) {
    ways.push_back(after_name(store, form, state, {offered.key, key.gain}, key.value));
  }
  for (size_t i = 0; i < key.claims.size(); ++i) {
    if (!(offered.ways >> (i + 1) & 1)) continue;
    const KeyClaim& claim = key.claims[i];
    ways.push_back(
        after_name(store, form, state, {offered.key, key.gain | claim.gain}, claim.value));
  }
  return store.any_of(ways);
}

namespace {

// Whether it is plain to see that some object is meant: its required keys have values, need no
// others, and are as many as the counts ask for.
bool surely_filled(const Store& store, const ObjectForm& form) {
  uint32_t count = 0;
  for (const ObjectKey& key : form.keys) {
    if (!key.required) continue;
    if (!store.node(key.value).facts.plain || !key.needs.empty()) return false;
    ++count;
  }
  return form.goals == 0 && form.min <= count && count <= form.max;
}

}  // namespace

NodeRef object_node(Store& store, ObjectFormRef form) {
  ObjectState state;
  state.seen = SeenKeys(form->keys.size());
  if (form->frame != nullptr) return framed_rest(store, form, std::move(state), true);
  const bool certain = surely_filled(store, *form);
  const NodeRef members =
      store.typed(std::make_unique<Members>(std::move(form), std::move(state), true, certain));
  return store.cat(store.bytes("{"), members);
}

}  // namespace treadle
