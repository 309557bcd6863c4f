#include "grammar/typed/str.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "support/chars.h"
#include "support/hash.h"
#include "support/json_escape.h"

namespace treadle {
namespace {

// Where a text stands inside an escape.
enum class Inside : uint8_t {
  none,        // between characters, or inside a raw multi-byte one
  escape,      // after a backslash
  hex,         // after \u, with `digits` digits read
  second,      // after a high surrogate: a backslash must follow
  second_u,    // after that backslash: a u must follow
  second_hex,  // the low surrogate's digits
};

struct Escape {
  Inside inside = Inside::none;
  uint8_t digits = 0;  // hexadecimal digits read of the current unit
  uint16_t unit = 0;   // their value
  uint16_t high = 0;   // the high surrogate before
  bool operator==(const Escape&) const = default;
};

using json_escape::join;
using json_escape::kNames;
using json_escape::kValues;

constexpr ByteSet raw_bytes() {
  ByteSet out = ByteSet::range(0x20, 0xFF);
  out.erase('"');
  out.erase('\\');
  return out;
}

// Control characters without a short escape: the only ones that `minimal` spells by \u.
CharSet nameless_controls() {
  CharSet out = CharSet::range(0, 0x1F);
  for (const char value : kValues) out = out.subtract(CharSet::single(static_cast<uint8_t>(value)));
  return out;
}

// The code points that `minimal` spells by a backslash.
CharSet escaped_only() {
  return CharSet({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
}

// The code points that the escape may still become.
CharSet completions(const Escape& escape) {
  if (escape.inside == Inside::escape) return CharSet::any();
  const unsigned open = 4u * (4u - escape.digits);
  uint32_t low = static_cast<uint32_t>(escape.unit) << open;
  uint32_t high = low | ((1u << open) - 1);
  if (escape.inside != Inside::hex) {
    low = std::max<uint32_t>(low, 0xDC00);
    high = std::min<uint32_t>(high, 0xDFFF);
    return low > high ? CharSet() : CharSet::range(join(escape.high, low), join(escape.high, high));
  }
  const CharSet units = CharSet::range(low, high);
  const CharSet leads = units.intersect(CharSet::range(0xD800, 0xDBFF));
  CharSet out = units.intersect(CharSet::any());
  if (!leads.is_empty()) {
    const uint32_t first = leads.ranges().front().lo, last = leads.ranges().back().hi;
    out = out.unite(CharSet::range(join(first, 0xDC00), join(last, 0xDFFF)));
  }
  return out;
}

// Whether some string of the byte-range product takes `text` to a language with a member.
bool reaches(Store& store, NodeRef text, std::span<const ByteRange> bytes) {
  if (bytes.empty()) return has_member(store, text);
  ByteSet left = store.first(text) & ByteSet::range(bytes[0].lo, bytes[0].hi);
  while (!left.empty()) {
    const auto byte = static_cast<uint8_t>(left.lowest());
    left &= ~store.same(text, byte);
    left.erase(byte);
    const NodeRef rest = store.derive(text, byte);
    if (rest != store.empty() && reaches(store, rest, bytes.subspan(1))) return true;
  }
  return false;
}

// Whether some character does: nearly every question asked is this one.
bool begins(Store& store, NodeRef text) {
  if (store.node(text).facts.plain) {
    return !(store.first(text) & ~ByteSet::range(0x80, 0xBF)).empty();  // not inside a character
  }
  static const std::vector<Utf8Sequence> kAny = utf8_sequences(CharSet::any());
  for (const Utf8Sequence& sequence : kAny) {
    if (reaches(store, text, std::span(sequence.bytes.data(), sequence.size))) return true;
  }
  return false;
}

bool reaches_any(Store& store, NodeRef text, const CharSet& set) {
  for (const Utf8Sequence& sequence : utf8_sequences(set)) {
    if (reaches(store, text, std::span(sequence.bytes.data(), sequence.size))) return true;
  }
  return false;
}

class Str final : public Typed {
 public:
  Str(NodeRef text, Escapes escapes, Escape escape)
      : Typed(TypedTag::string, true), text_(text), escapes_(escapes), escape_(escape) {}

  uint64_t hash() const override {
    uint64_t h = mix(static_cast<uint64_t>(tag) << 8 | static_cast<uint64_t>(escapes_), text_);
    h = mix(h, static_cast<uint64_t>(escape_.inside) << 8 | escape_.digits);
    return mix(h, static_cast<uint64_t>(escape_.unit) << 16 | escape_.high);
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const Str&>(other);
    return text_ == that.text_ && escapes_ == that.escapes_ && escape_ == that.escape_;
  }
  Digest digest(Store& store) const override {
    Digest text = store.digest(text_);
    if (!text.known()) return text;
    Digest out = Digest::of(static_cast<uint64_t>(tag)).add(text);
    out.add(static_cast<uint64_t>(escapes_) << 16 | static_cast<uint64_t>(escape_.inside) << 8 |
            escape_.digits);
    return out.add(static_cast<uint64_t>(escape_.unit) << 16 | escape_.high);
  }
  bool nullable(Store& store) const override {
    return escape_.inside == Inside::none && store.nullable(text_);
  }
  ByteSet first(Store& store) const override;
  ByteSet same(Store& store, uint8_t byte) const override;
  Beside beside(Store& store) const override {
    if (escape_.inside != Inside::none) return {};
    Beside out = store.beside(text_);
    if (out.node == store.empty()) return out;
    out.differ &= raw_bytes();
    out.differ.insert('\\');
    out.node = string_content(store, out.node, escapes_);
    return out;
  }
  NodeRef derive(Store& store, uint8_t byte) const override;
  Escapes escapes() const { return escapes_; }
  NodeRef between(const Store& store) const {
    return escape_.inside == Inside::none ? text_ : store.empty();
  }

 private:
  NodeRef take(Store& store, uint32_t code) const;  // a whole escape has been read
  NodeRef enter(Store& store, const Escape& escape) const;
  NodeRef push_hex(Store& store, uint8_t byte) const;

  NodeRef text_;  // what the rest of the decoded text must match
  Escapes escapes_;
  Escape escape_;
};

ByteSet Str::first(Store& store) const {
  ByteSet out;
  switch (escape_.inside) {
    case Inside::none: {
      const ByteSet starts = store.first(text_);
      out = starts & raw_bytes();
      // Inside a raw multi-byte character only continuation bytes may follow.
      if (!(starts & ~ByteSet::range(0x80, 0xBF)).empty()) out.insert('\\');
      return out;
    }
    case Inside::escape:
      for (const char name : kNames) out.insert(static_cast<uint8_t>(name));
      out.insert('u');
      return out;
    case Inside::second:
      return ByteSet::of('\\');
    case Inside::second_u:
      return ByteSet::of('u');
    case Inside::hex:
    case Inside::second_hex:
      break;
  }
  return ByteSet::range('0', '9') | ByteSet::range('a', 'f') | ByteSet::range('A', 'F');
}

ByteSet Str::same(Store& store, uint8_t byte) const {
  if (escape_.inside == Inside::none) {
    const ByteSet raw = raw_bytes();
    if (raw.contains(byte)) return store.same(text_, byte) & raw;
    return byte == '\\' ? ByteSet::of(byte) : ~raw & ~ByteSet::of('\\');
  }
  ByteSet out = ByteSet::of(byte);
  const bool letter = byte >= 'A' && hex_value(byte) >= 10;
  if (letter && (escape_.inside == Inside::hex || escape_.inside == Inside::second_hex)) {
    out.insert(static_cast<uint8_t>(byte ^ 0x20));
  }
  return out;
}

NodeRef Str::derive(Store& store, uint8_t byte) const {
  switch (escape_.inside) {
    case Inside::none:
      if (byte == '\\') return enter(store, Escape{Inside::escape, 0, 0, 0});
      return raw_bytes().contains(byte) ? string_content(store, store.derive(text_, byte), escapes_)
                                        : store.empty();
    case Inside::escape: {
      if (byte == 'u') return enter(store, Escape{Inside::hex, 0, 0, 0});
      if (byte == '/' && escapes_ == Escapes::minimal) return store.empty();
      const size_t found = kNames.find(static_cast<char>(byte));
      return found == std::string_view::npos ? store.empty()
                                             : take(store, static_cast<uint8_t>(kValues[found]));
    }
    case Inside::second:
      if (byte != '\\') return store.empty();
      return enter(store, Escape{Inside::second_u, 0, 0, escape_.high});
    case Inside::second_u:
      if (byte != 'u') return store.empty();
      return enter(store, Escape{Inside::second_hex, 0, 0, escape_.high});
    case Inside::hex:
    case Inside::second_hex:
      return push_hex(store, byte);
  }
  return store.empty();
}

NodeRef Str::push_hex(Store& store, uint8_t byte) const {
  const int value = hex_value(byte);
  if (value < 0) return store.empty();
  Escape next = escape_;
  next.unit = static_cast<uint16_t>(escape_.unit * 16 + value);
  if (++next.digits < 4) return enter(store, next);
  if (next.inside == Inside::second_hex) {
    if (next.unit < 0xDC00 || next.unit > 0xDFFF) return store.empty();
    return take(store, join(next.high, next.unit));
  }
  if (!is_surrogate(next.unit)) return take(store, next.unit);
  if (next.unit >= 0xDC00) return store.empty();
  return enter(store, Escape{Inside::second, 0, 0, next.unit});
}

NodeRef Str::take(Store& store, uint32_t code) const {
  std::string bytes;
  append_utf8(bytes, code);
  return string_content(store, store.derive(text_, std::string_view(bytes)), escapes_);
}

// A partial escape stays only if some code point that completes it is allowed here.
NodeRef Str::enter(Store& store, const Escape& escape) const {
  const bool open =
      escape.inside == Inside::escape || (escape.inside == Inside::hex && escape.digits == 0);
  if (escapes_ == Escapes::any && open) {  // any character may still come of it
    if (!begins(store, text_)) return store.empty();
    return store.typed(std::make_unique<Str>(text_, escapes_, escape));
  }
  CharSet reachable = completions(escape);
  if (escapes_ == Escapes::minimal) {
    reachable =
        reachable.intersect(escape.inside == Inside::escape ? escaped_only() : nameless_controls());
  }
  if (!reaches_any(store, text_, reachable)) return store.empty();
  return store.typed(std::make_unique<Str>(text_, escapes_, escape));
}

NodeRef hex_digits(Store& store, uint32_t unit) {
  NodeRef out = store.eps();
  for (int shift = 12; shift >= 0; shift -= 4) {
    const auto digit = static_cast<uint8_t>("0123456789abcdef"[(unit >> shift) & 15]);
    ByteSet set = ByteSet::of(digit);
    if (digit >= 'a') set.insert(static_cast<uint8_t>(digit - 0x20));
    out = store.cat(out, store.byte_set(set));
  }
  return out;
}

}  // namespace

NodeRef raw_text(const Store& store, NodeRef node) {
  if (store.node(node).kind != Kind::leaf) return store.empty();
  const Typed& typed = store.typed_of(node);
  return typed.tag == TypedTag::string ? static_cast<const Str&>(typed).between(store)
                                       : store.empty();
}

bool any_escapes(const Store& store, NodeRef leaf) {
  return static_cast<const Str&>(store.typed_of(leaf)).escapes() == Escapes::any;
}

NodeRef with_text(Store& store, NodeRef leaf, NodeRef text) {
  return string_content(store, text, static_cast<const Str&>(store.typed_of(leaf)).escapes());
}

bool has_member(Store& store, NodeRef node) {
  if (node == store.empty()) return false;
  if (store.node(node).facts.plain) return true;
  Fuel fuel("step_fuel", store.limits().step_fuel);
  const Result<bool> live = store.live(node, fuel);
  if (!live) store.fail(live.status());
  return live.ok() && *live;
}

static NodeRef make_spelled_any(Store& store, Escapes escapes) {
  const auto hex = [](std::string_view digits) {
    ByteSet set;
    for (const char digit : digits) set.insert(static_cast<uint8_t>(digit));
    return set;
  };
  const NodeRef any = store.byte_set(hex("0123456789abcdefABCDEF"));
  const NodeRef two = store.cat(any, any);
  const NodeRef d = store.byte_set(hex("dD"));
  const NodeRef below_8 = store.byte_set(hex("01234567"));
  const NodeRef outside_d = store.byte_set(hex("0123456789abcefABCEF"));
  const NodeRef low_lead = store.byte_set(hex("cdefCDEF"));
  const NodeRef high_lead = store.byte_set(hex("89abAB"));
  const NodeRef unit = store.bytes("\\u");
  const NodeRef basic = store.cat(unit, store.alt(store.cat(outside_d, store.cat(any, two)),
                                                  store.cat(d, store.cat(below_8, two))));
  const NodeRef pair = store.cat(store.cat(unit, store.cat(d, store.cat(high_lead, two))),
                                 store.cat(unit, store.cat(d, store.cat(low_lead, two))));
  ByteSet names = hex(kNames);
  if (escapes == Escapes::minimal) {
    CharSet raw = CharSet({{0x20, kMaxCodePoint}}).intersect(CharSet::any());
    raw = raw.subtract(CharSet::single('"')).subtract(CharSet::single('\\'));
    names.erase('/');
    std::vector<NodeRef> choices{store.chars(raw),
                                 store.cat(store.bytes("\\"), store.byte_set(names))};
    const CharSet controls = nameless_controls();
    for (const CharRange& range : controls.ranges()) {
      for (uint32_t code = range.lo; code <= range.hi; ++code) {
        choices.push_back(store.cat(unit, hex_digits(store, code)));
      }
    }
    return store.any_of(choices);
  }
  // The characters of several bytes are those of any text; only the single bytes are fewer.
  std::vector<NodeRef> choices{basic, pair};
  const NodeRef any_char = store.any_char();
  for (const NodeRef part : store.children(any_char)) {
    if (store.node(part).kind != Kind::set) choices.push_back(part);
  }
  choices.push_back(store.byte_set(raw_bytes() & ByteSet::range(0, 0x7F)));
  choices.push_back(store.cat(store.bytes("\\"), store.byte_set(names)));
  return store.any_of(choices);
}

NodeRef spelled_any(Store& store, Escapes escapes) {
  using enum Store::Often;
  const auto which = escapes == Escapes::minimal ? spelled_minimal : spelled;
  if (store.often(which) != store.empty()) return store.often(which);
  const NodeRef made = make_spelled_any(store, escapes);
  if (store.ok()) store.often(which) = made;
  return made;
}

NodeRef string_content(Store& store, NodeRef text, Escapes escapes) {
  // Text without a constraint but its length needs no decoding: the spellings are regular.
  const Node node = store.node(text);
  if (node.kind == Kind::repeat && node.a == store.any_char()) {
    return store.repeat(spelled_any(store, escapes), node.lo, node.hi);
  }
  if (text == store.eps()) return text;
  if (!has_member(store, text)) return store.empty();
  return store.typed(std::make_unique<Str>(text, escapes, Escape{}));
}

}  // namespace treadle
