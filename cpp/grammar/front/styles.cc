#include "grammar/front/styles.h"

#include <string>
#include <vector>

#include "grammar/front/schema_array.h"
#include "grammar/front/schema_object.h"
#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "grammar/typed/dispatch.h"

namespace treadle {
namespace {

constexpr std::array<std::string_view, 6> kUntyped{};
constexpr std::array<std::string_view, 6> kStringOrNot{"true",  "false", "false",
                                                       "false", "false", "false"};

// Source: the chat templates of the families (Qwen3-Coder, MiniMax M2 and M3, DeepSeek V3.2 to
// V4.1, GLM 4.5 to 5, Cohere Command A, Kimi K3), as XGrammar 0.2.8 lowers its styles.
constexpr Style kStyles[] = {
    {.name = "qwen_xml",
     .frame = {.begin = "<parameter="},
     .key_end = ">",
     .types = kUntyped,
     .close = "</parameter>",
     .barrier = "</parameter>",
     .nesting = Nesting::json,
     .padded = true,
     .lined = true},
    {.name = "minimax_xml",
     .frame = {.begin = "<parameter name=\""},
     .key_end = "\">",
     .types = kUntyped,
     .close = "</parameter>",
     .barrier = "</parameter>",
     .nesting = Nesting::json,
     .padded = true},
    {.name = "minimax_m3_xml",
     .frame = {.begin = "]<]minimax[>[<", .end = "]<]minimax[>[</", .end_after = ">"},
     .key_end = ">",
     .types = kUntyped,
     .barrier = "]<]minimax[>[",
     .nesting = Nesting::declared,
     .item_begin = "]<]minimax[>[<item>",
     .item_end = "]<]minimax[>[</item>"},
    {.name = "deepseek_xml",
     .frame = {.begin = "<｜DSML｜parameter name=\""},
     .key_end = "\" string=\"",
     .types = kStringOrNot,
     .type_end = "\">",
     .close = "</｜DSML｜parameter>",
     .barrier = "</｜DSML｜parameter>",
     .nesting = Nesting::json,
     .padded = true},
    {.name = "deepseek_v4_1_xml",
     .frame = {.begin = "<｜DSML｜ parameter name=\""},
     .key_end = "\" string=\"",
     .types = kStringOrNot,
     .type_end = "\">",
     .close = "</｜DSML｜ parameter>",
     .barrier = "</｜DSML｜ parameter>",
     .nesting = Nesting::json,
     .padded = true},
    {.name = "glm_xml",
     .frame = {.begin = "<arg_key>"},
     .key_end = "</arg_key>",
     .value_begin = "<arg_value>",
     .types = kUntyped,
     .close = "</arg_value>",
     .barrier = "</arg_value>",
     .nesting = Nesting::json,
     .padded = true},
    {.name = "cohere_xml",
     .frame = {.begin = "<cofl:value name=\""},
     .key_end = "\" type=\"",
     .types = {"raw", "json", "json", "json", "list", "dict"},
     .type_end = "\">",
     .close = "</cofl:value>",
     .barrier = "</cofl:value>",
     .nesting = Nesting::repeated,
     .padded = true,
     .item_begin = "<cofl:value type=\"",
     .item_end = "</cofl:value>"},
    {.name = "kimi_k3_xml",
     .frame = {.begin = "<|open|>argument key=\""},
     .key_end = "\" type=\"",
     .types = {"string", "null", "boolean", "number", "array", "object"},
     .type_end = "\"<|sep|>",
     .close = "<|close|>argument<|sep|>",
     .barrier = "<|close|>argument<|sep|>",
     .nesting = Nesting::json,
     .padded = true},
};

}  // namespace

const Style* find_style(std::string_view name) {
  for (const Style& style : kStyles) {
    if (style.name == name) return &style;
  }
  return nullptr;
}

namespace schema {
namespace {

class Styled {
 public:
  Styled(Store& store, const SourceRef& source, const Form& form, Place place, bool loose,
         Fuel& fuel)
      : store_(store),
        source_(source),
        style_(*source->options.style),
        form_(form),
        place_(place),
        loose_(loose),
        fuel_(fuel) {}

  Result<NodeRef> run() {
    // In the order of Style::types.
    static constexpr uint8_t kGroups[] = {kString, kNull, kBoolean, kNumber, kArray, kObject};
    std::vector<NodeRef> out;
    for (size_t i = 0; i < std::size(kGroups); ++i) {
      if (!(form_.types & kGroups[i])) continue;
      const Result<NodeRef> value = value_of(kGroups[i]);
      if (!value) return value;
      const NodeRef parts[] = {before(style_.types[i]), *value, after()};
      out.push_back(store_.concat(parts));
    }
    return store_.any_of(out);
  }

 private:
  NodeRef before(std::string_view type) {
    std::string typed(type);
    if (!typed.empty()) typed += style_.type_end;
    if (place_.role == Role::item) return store_.bytes(std::string(style_.item_begin) + typed);
    if (style_.value_begin.empty()) return store_.bytes(std::string(style_.key_end) + typed);
    const NodeRef parts[] = {store_.bytes(style_.key_end), space(),
                             store_.bytes(std::string(style_.value_begin) + typed)};
    return store_.concat(parts);
  }

  NodeRef after() {
    return store_.bytes(place_.role == Role::item ? style_.item_end : style_.close);
  }

  NodeRef space() { return source_->spacing(store_, place_).any; }

  Result<NodeRef> value_of(uint8_t group) {
    if (group == kString) return raw();
    const bool nested = style_.nesting != Nesting::json && (group & (kArray | kObject)) != 0;
    Form part = form_;
    part.types &= group;
    if (nested && group == kObject) {
      return object_of(store_, source_, part, {Role::member}, loose_, fuel_);
    }
    if (nested) return array_of(store_, source_, part, {Role::item}, loose_, fuel_);
    const Result<NodeRef> json = json_of(store_, source_, part, place_.depth, loose_, fuel_);
    if (!json || !style_.padded) return json;
    const NodeRef parts[] = {space(), *json, space()};
    return store_.concat(parts);
  }

  // A string is text up to the end of its frame.
  Result<NodeRef> raw() {
    std::vector<std::string> words = source_->options.excludes;
    words.emplace_back(style_.barrier);
    const NodeRef free = free_text(store_, words);
    const bool any = form_.texts.empty() && form_.not_texts.empty() && form_.min_length == 0 &&
                     form_.max_length == kOpen;
    if (any) return free;
    if (!afford_text(store_, form_, fuel_)) return fuel_.status();
    const NodeRef text = store_.both(form_text(store_, form_), free);
    if (!has_member(store_, text)) return store_.empty();
    if (!style_.lined) return text;
    const NodeRef line = store_.optional(store_.bytes("\n"));
    const NodeRef parts[] = {line, text, line};
    return store_.concat(parts);
  }

  Store& store_;
  const SourceRef& source_;
  const Style& style_;
  const Form& form_;
  Place place_;
  bool loose_;
  Fuel& fuel_;
};

}  // namespace

Result<NodeRef> styled_of(Store& store, const SourceRef& source, const Form& form, Place place,
                          bool loose, Fuel& fuel) {
  if (place.role != Role::top) return Styled(store, source, form, place, loose, fuel).run();
  if (!(form.types & kObject)) return store.empty();
  return object_of(store, source, form, {Role::member}, loose, fuel);
}

NodeRef styled_keys(Store& store) {
  CharSet set = CharSet::any().subtract(CharSet::range(0, 0x1F));
  for (const char c : {'<', '>', '"', '&'}) {
    set = set.subtract(CharSet::single(static_cast<uint8_t>(c)));
  }
  return store.plus(store.chars(set));
}

}  // namespace schema
}  // namespace treadle
