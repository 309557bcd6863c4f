#include "grammar/front/schema_values.h"

#include <algorithm>
#include <map>
#include <utility>

#include "grammar/front/schema_words.h"

namespace treadle::schema {
namespace {

constexpr int32_t kMostDigits = 15;

std::string number_key(const Decimal& value) {
  return (value.negative ? "-" : "+") + value.digits + "e" + std::to_string(value.exponent);
}

std::string text_key(std::string_view text) {
  return std::to_string(text.size()) + ":" + std::string(text);
}

// Equal for equal values, whatever the order of keys and the spelling of numbers.
std::string literal_key(json::Value root) {
  struct Frame {
    json::Value value;
    std::vector<json::Value> parts;
    std::vector<std::string> keys;
  };
  std::vector<Frame> stack;
  const auto push = [&](json::Value value) {
    stack.push_back({value, {}, {}});
    for (const json::Value part : value) stack.back().parts.push_back(part);
  };
  push(root);
  for (;;) {
    Frame& top = stack.back();
    if (top.keys.size() < top.parts.size()) {
      push(top.parts[top.keys.size()]);
      continue;
    }
    std::string key;
    switch (top.value.kind()) {
      case json::Kind::null:
        key = "null";
        break;
      case json::Kind::boolean:
        key = top.value.truth() ? "true" : "false";
        break;
      case json::Kind::number:
        key = "n" + number_key(Decimal::parse(top.value.text()).value_or(Decimal{}));
        break;
      case json::Kind::string:
        key = "s" + text_key(top.value.text());
        break;
      case json::Kind::array:
        key = "[";
        for (const std::string& part : top.keys) key += part + ",";
        break;
      case json::Kind::object:
        for (size_t i = 0; i < top.parts.size(); ++i) {
          top.keys[i].insert(0, text_key(top.parts[i].key()));
        }
        std::sort(top.keys.begin(), top.keys.end());
        key = "{";
        for (const std::string& part : top.keys) key += part + ",";
        break;
    }
    stack.pop_back();
    if (stack.empty()) return key;
    stack.back().keys.push_back(std::move(key));
  }
}

// The numbers of a form, if they are few.
std::optional<std::vector<Decimal>> numbers_in(const Form& form) {
  std::vector<Decimal> out;
  const auto add = [&](Decimal value) {
    const bool hole = std::find(form.not_numbers.begin(), form.not_numbers.end(), value) !=
                      form.not_numbers.end();
    if (!hole && form.number.has(value)) out.push_back(std::move(value));
  };
  if (form.numbers) {
    for (const Decimal& value : *form.numbers) add(value);
    return out;
  }
  const NumberSet& set = form.number;
  const bool whole = set.step.a != 0 && set.step.b >= 0;
  if (!whole || !set.lo || !set.hi) return std::nullopt;
  const auto integer = [](const Decimal& value) -> std::optional<int64_t> {
    if (value.magnitude() > kMostDigits) return std::nullopt;
    const auto size = natural::small(scaled_down(value, 0));
    if (!size) return std::nullopt;
    return value.negative ? -static_cast<int64_t>(*size) : static_cast<int64_t>(*size);
  };
  const auto low = integer(set.lo->value), high = integer(set.hi->value);
  if (!low || !high) return std::nullopt;
  if (*high - *low > static_cast<int64_t>(kListedValues)) return std::nullopt;
  for (int64_t n = *low - 1; n <= *high + 1; ++n) {
    const Decimal size = Decimal::of(static_cast<uint64_t>(n < 0 ? -n : n));
    add(n < 0 ? size.negated() : size);
  }
  return out;
}

class Lister {
 public:
  Lister(Store& store, const SourceRef& source, const Conj& conj, Place place, bool loose,
         Fuel& fuel)
      : store_(store), source_(source), conj_(conj), place_(place), loose_(loose), fuel_(fuel) {}

  Result<std::optional<std::vector<Listed>>> run() {
    const auto forms = forms_of(store_, *source_, conj_, loose_, store_.limits(), fuel_);
    if (!forms) return forms.status();
    for (const Form& form : *forms) {
      const Result<bool> listed = list(form);
      if (!listed) return listed.status();
      if (!*listed || found_.size() > kListedValues) return std::optional<std::vector<Listed>>();
    }
    std::vector<Listed> out;
    for (auto& [key, node] : found_) out.push_back({key, node});
    return std::optional(std::move(out));
  }

 private:
  void add(const std::string& key, NodeRef node) {
    if (node == store_.empty()) return;
    NodeRef& known = found_[key];
    known = store_.alt(known, node);
  }

  // The one value of a form.
  Status add(const std::string& key, const Form& one) {
    const Result<NodeRef> node = written(store_, source_, one, place_, loose_, fuel_);
    if (!node) return node.status();
    add(key, *node);
    return ok_status();
  }

  Result<bool> list(const Form& form) {
    static constexpr std::pair<uint8_t, const char*> kNames[] = {
        {kNull, "null"}, {kFalse, "false"}, {kTrue, "true"}};
    for (const auto& [type, name] : kNames) {
      if (!(form.types & type)) continue;
      Form one;
      one.types = type;
      if (Status status = add(name, one); !status.ok()) return status;
    }
    if (form.types & kNumber) {
      const auto numbers = numbers_in(form);
      if (!numbers || numbers->size() > kListedValues) return false;
      for (const Decimal& value : *numbers) {
        Form one = form;
        one.types = kNumber;
        one.numbers = std::vector<Decimal>{value};
        if (Status status = add("n" + number_key(value), one); !status.ok()) return status;
      }
    }
    if (form.types & kString) {
      const auto words = words_of(store_, form_text(store_, form), fuel_);
      if (fuel_.exhausted()) return fuel_.status();
      if (!store_.ok()) return store_.fault();
      if (!words) return false;
      for (const std::string& word : *words) {
        Form one;
        one.types = kString;
        one.texts.push_back(store_.bytes(word));
        if (Status status = add("s" + text_key(word), one); !status.ok()) return status;
      }
    }
    if (form.types & kArray) {
      const Result<bool> listed = list_tree(form.arrays);
      if (!listed || !*listed) return listed;
    }
    if (form.types & kObject) return list_tree(form.objects);
    return true;
  }

  // An array or object is listed when it is a literal.
  Result<bool> list_tree(const std::vector<Sub>& parts) {
    const auto literal =
        std::find_if(parts.begin(), parts.end(), [](Sub part) { return part.as == As::literal; });
    if (literal == parts.end()) return false;
    Conj conj = conj_;
    add_sub(conj, *literal);
    const NodeRef node = source_->value(store_, source_, std::move(conj), loose_, place_);
    const Result<bool> live = store_.live(node, fuel_);
    if (!live) return live.status();
    if (*live) add(literal_key(source_->at(literal->node)), node);
    return true;
  }

  Store& store_;
  const SourceRef& source_;
  const Conj& conj_;
  Place place_;
  bool loose_;
  Fuel& fuel_;
  std::map<std::string, NodeRef> found_;
};

}  // namespace

Result<std::optional<std::vector<Listed>>> values_of(Store& store, const SourceRef& source,
                                                     const Conj& conj, Place place, bool loose,
                                                     Fuel& fuel) {
  return Lister(store, source, conj, place, loose, fuel).run();
}

}  // namespace treadle::schema
