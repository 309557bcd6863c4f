#include "grammar/typed/distinct.h"

#include <algorithm>
#include <string>
#include <utility>

#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/members.h"
#include "grammar/typed/other_text.h"
#include "grammar/typed/recorded.h"
#include "support/chars.h"
#include "support/hash.h"
#include "support/json_escape.h"

namespace treadle {
namespace {

constexpr uint64_t kSeenCost = 8;  // fuel for one value that an item must not equal

// The values of the items read so far.
struct Seen {
  uint8_t names = 0;
  std::vector<std::string> texts;  // decoded, sorted
  std::vector<Decimal> numbers;    // sorted
  bool operator==(const Seen&) const = default;

  [[nodiscard]] size_t size() const { return texts.size() + numbers.size(); }
  [[nodiscard]] uint64_t bytes() const {
    uint64_t out = sizeof(Seen);
    for (const std::string& text : texts) out += sizeof(std::string) + text.size();
    for (const Decimal& number : numbers) out += sizeof(Decimal) + number.digits.size();
    return out;
  }
  [[nodiscard]] uint64_t hash() const {
    uint64_t h = names;
    for (const std::string& text : texts) h = hash_bytes(text, h);
    for (const Decimal& number : numbers) h = mix(h, number.hash());
    return h;
  }
};

using SeenRef = std::shared_ptr<const Seen>;

uint32_t unit_of(std::string_view digits) {
  uint32_t out = 0;
  for (const char c : digits) {
    out = out * 16 + static_cast<uint32_t>(hex_value(static_cast<uint8_t>(c)));
  }
  return out;
}

// The text of a JSON string, which is well formed.
std::string decoded(std::string_view spelled) {
  std::string out;
  for (size_t i = 1; i + 1 < spelled.size(); ++i) {
    if (spelled[i] != '\\') {
      out += spelled[i];
      continue;
    }
    const char name = spelled[++i];
    if (name != 'u') {
      out += json_escape::kValues[json_escape::kNames.find(name)];
      continue;
    }
    uint32_t code = unit_of(spelled.substr(i + 1, 4));
    i += 4;
    if (code >= 0xD800 && code < 0xDC00) {  // the other half follows
      code = json_escape::join(code, unit_of(spelled.substr(i + 3, 4)));
      i += 6;
    }
    append_utf8(out, code);
  }
  return out;
}

SeenRef with_value(const Seen& before, std::string_view spelled) {
  auto out = std::make_shared<Seen>(before);
  switch (spelled[0]) {
    case 'n':
      out->names |= kNameNull;
      break;
    case 'f':
      out->names |= kNameFalse;
      break;
    case 't':
      out->names |= kNameTrue;
      break;
    case '"': {
      std::string text = decoded(spelled);
      out->texts.insert(std::upper_bound(out->texts.begin(), out->texts.end(), text),
                        std::move(text));
      break;
    }
    default: {
      Decimal value = Decimal::exact(spelled);
      const auto less = [](const Decimal& a, const Decimal& b) { return compare(a, b) < 0; };
      out->numbers.insert(std::upper_bound(out->numbers.begin(), out->numbers.end(), value, less),
                          std::move(value));
    }
  }
  return out;
}

NodeRef strings_but(Store& store, const DistinctForm& form, const DistinctItem& item,
                    const Seen& seen) {
  NodeRef text = item.texts;
  if (text != store.empty() && !seen.texts.empty()) {
    if (text == store.any_text()) {
      text = other_text(store, std::vector<std::string_view>(seen.texts.begin(), seen.texts.end()));
    } else {
      std::vector<NodeRef> words;
      for (const std::string& word : seen.texts) words.push_back(store.bytes(word));
      text = store.both(text, store.complement(store.any_of(words)));
    }
  }
  NodeRef content = string_content(store, text, form.escapes);
  if (form.barred != store.empty()) {
    content = store.both(content, form.barred);
    if (!has_member(store, content)) return store.empty();
  }
  const NodeRef quote = store.bytes("\"");
  return store.cat(quote, store.cat(content, quote));
}

NodeRef numbers_but(Store& store, const DistinctItem& item, const Seen& seen) {
  std::vector<NumberSet> sets = item.numbers;
  for (const Decimal& value : seen.numbers) {
    for (size_t i = 0; i < sets.size(); ++i) {
      if (!sets[i].has(value)) continue;
      NumberSet above = sets[i];
      above.at_least(Bound{value, true});
      sets[i].at_most(Bound{value, true});
      sets.push_back(std::move(above));
      break;  // the sets have nothing in common
    }
  }
  std::vector<NodeRef> out;
  for (const NumberSet& set : sets) out.push_back(number_node(store, set));
  NodeRef all = store.any_of(out);
  if (all == store.empty() || item.shape == store.empty()) return all;
  all = store.both(all, item.shape);
  return has_member(store, all) ? all : store.empty();
}

// The values of an item that equal none of those before.
NodeRef item_but(Store& store, const DistinctForm& form, const DistinctItem& item,
                 const Seen& seen) {
  static constexpr std::pair<uint8_t, const char*> kSpelled[] = {
      {kNameNull, "null"}, {kNameFalse, "false"}, {kNameTrue, "true"}};
  std::vector<NodeRef> out;
  for (const auto& [name, spelled] : kSpelled) {
    if (item.names & ~seen.names & name) out.push_back(store.bytes(spelled));
  }
  if (item.texts != store.empty()) out.push_back(strings_but(store, form, item, seen));
  if (!item.numbers.empty()) out.push_back(numbers_but(store, item, seen));
  return store.any_of(out);
}

// The rest of the array after `index` items.
class DistinctItems final : public Typed {
 public:
  // What is known of the items so far.
  enum Memory : uint8_t { kWhole = 0, kAwaits = 1, kLost = 2 };

  DistinctItems(DistinctFormRef form, SeenRef seen, uint32_t index, uint8_t memory)
      : Typed(TypedTag::items_distinct, false, form->min <= form->max),
        form_(std::move(form)),
        seen_(std::move(seen)),
        hash_(mix(seen_->hash(), uint64_t{index} << 2 | memory)),
        index_(index),
        memory_(memory) {}

  uint64_t hash() const override {
    uint64_t h = mix(mix(static_cast<uint64_t>(tag), hash_), form_->items.back().texts);
    h = mix(h, static_cast<uint64_t>(form_->min) << 32 | form_->max);
    return mix(h, form_->spacing.comma);
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const DistinctItems&>(other);
    return index_ == that.index_ && memory_ == that.memory_ && hash_ == that.hash_ &&
           (form_ == that.form_ || *form_ == *that.form_) &&
           (seen_ == that.seen_ || *seen_ == *that.seen_);
  }
  uint64_t bytes() const override {
    return sizeof(DistinctItems) + (memory_ & kAwaits ? 0 : seen_->bytes());
  }
  Result<NodeRef> expand(Store& store, Fuel& fuel) const override {
    NodeRef more = store.empty();
    if (index_ < form_->max) {
      const uint64_t most = store.limits().seen_values;
      if (seen_->size() >= most) {
        return limit_exceeded("seen_values", static_cast<double>(most + 1),
                              static_cast<double>(most));
      }
      if (!fuel.spend(kSeenCost * (1 + seen_->size()))) return fuel.status();
      const NodeRef value = item_but(store, *form_, item(), *seen_);
      if (!store.ok()) return store.fault();
      if (value != store.empty()) more = store.cat(recorded_rule(store, value), after(store));
    }
    const NodeRef close = index_ >= form_->min ? store.bytes("]") : store.empty();
    return end_or_item(store, form_->spacing, index_ == 0, close, more);
  }
  // Another value is always to be found, so only the counts may say no.
  Result<NodeRef> witness(Store& store, Fuel&) const override {
    return form_->min <= form_->max ? store.eps() : store.empty();
  }

  bool awaits() const { return memory_ & kAwaits; }
  NodeRef heard(Store& store, std::string_view spelled) const {
    return store.typed(std::make_unique<DistinctItems>(form_, with_value(*seen_, spelled), index_,
                                                       memory_ & kLost));
  }
  Doubt doubt(Store& store) const {
    if (!(memory_ & kLost)) return Doubt::none;
    const uint32_t before = index_ == 0 ? 0 : index_ - 1;
    const uint32_t last = static_cast<uint32_t>(form_->items.size()) - 1;
    for (uint32_t i = std::min(before, last); i <= std::min(index_, last); ++i) {
      if (!open(store, form_->items[i])) return Doubt::all;
    }
    return Doubt::ends;
  }

 private:
  const DistinctItem& item() const {
    return form_->items[std::min<size_t>(index_, form_->items.size() - 1)];
  }

  // Behind one more item, whose text is not known yet.
  NodeRef after(Store& store) const {
    uint32_t next = index_ + 1;
    const auto settled = std::max(static_cast<uint32_t>(form_->items.size() - 1), form_->min);
    if (form_->max == kOpen) next = std::min(next, std::max(settled, 1u));
    const uint8_t lost = memory_ == kWhole ? 0 : kLost;
    return store.typed(
        std::make_unique<DistinctItems>(form_, seen_, next, static_cast<uint8_t>(kAwaits | lost)));
  }

  // Whether every beginning of an item has endless ends, so that no one value matters to it.
  bool open(Store& store, const DistinctItem& item) const {
    if (item.names != 0 || !item.numbers.empty() || form_->barred != store.empty()) return false;
    const Node text = store.node(item.texts);
    return text.kind == Kind::repeat && text.hi == kOpen && text.a == store.any_char();
  }

  DistinctFormRef form_;
  SeenRef seen_;
  uint64_t hash_;
  uint32_t index_;  // items read, up to where it no longer matters
  uint8_t memory_;
};

const DistinctItems* items_of(const Store& store, NodeRef rest) {
  const Node& node = store.node(rest);
  if (node.kind == Kind::concat) return items_of(store, node.a);
  if (node.kind != Kind::rule) return nullptr;
  const Typed& typed = store.typed_of(rest);
  if (typed.tag != TypedTag::items_distinct) return nullptr;
  const auto& items = static_cast<const DistinctItems&>(typed);
  return items.awaits() ? &items : nullptr;
}

}  // namespace

NodeRef distinct_array_node(Store& store, DistinctFormRef form) {
  auto items = std::make_unique<DistinctItems>(std::move(form), std::make_shared<const Seen>(), 0,
                                               DistinctItems::kWhole);
  return store.cat(store.bytes("["), store.typed(std::move(items)));
}

NodeRef heard(Store& store, NodeRef rest, NodeRef residual) {
  const DistinctItems* items = items_of(store, rest);
  if (!items) return rest;
  const Node node = store.node(rest);
  const NodeRef behind = node.kind == Kind::concat ? node.b : store.eps();
  std::vector<NodeRef> out;
  for (const std::string& text : records(store, residual)) {
    out.push_back(store.cat(items->heard(store, text), behind));
  }
  return store.any_of(out);
}

Doubt doubt_before(Store& store, NodeRef rest) {
  const DistinctItems* items = items_of(store, rest);
  return items != nullptr ? items->doubt(store) : Doubt::none;
}

}  // namespace treadle
