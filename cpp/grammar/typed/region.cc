#include "grammar/typed/region.h"

#include <bit>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "grammar/ir/charset.h"
#include "grammar/ir/store.h"
#include "grammar/typed/str.h"
#include "support/hash.h"

namespace treadle {

namespace {

constexpr size_t kMostStates = 64;  // of a body that is looked through
constexpr ByteSet kInner = ByteSet::range(0x80, 0xBF);

class Region final : public Typed {
 public:
  Region(const RegionForm& form, NodeRef inner, bool entered)
      : Typed(TypedTag::region, true), form(form), inner(inner), entered(entered) {}

  uint64_t hash() const override {
    uint64_t h = mix(static_cast<uint64_t>(tag), form.name);
    h = mix(h, uint64_t{form.max_tokens} << 32 | std::bit_cast<uint32_t>(form.temperature));
    return mix(h, uint64_t{inner} << 1 | (entered ? 1 : 0));
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const Region&>(other);
    return form == that.form && inner == that.inner && entered == that.entered;
  }
  bool nullable(Store& store) const override { return store.nullable(inner); }
  ByteSet first(Store& store) const override { return store.first(inner); }
  ByteSet same(Store& store, uint8_t byte) const override { return store.same(inner, byte); }
  NodeRef derive(Store& store, uint8_t byte) const override {
    return wrap(store, form, store.derive(inner, byte), true);
  }

  // Nothing left, or nothing possible, is no region any more.
  static NodeRef wrap(Store& store, const RegionForm& form, NodeRef inner, bool entered) {
    if (inner == store.eps() || !has_member(store, inner)) {
      return inner == store.eps() ? inner : store.empty();
    }
    return store.typed(std::make_unique<Region>(form, inner, entered));
  }

  const RegionForm form;
  const NodeRef inner;
  const bool entered;
};

const Region* region_of(const Store& store, NodeRef node) {
  if (store.node(node).kind != Kind::leaf) return nullptr;
  const Typed& typed = store.typed_of(node);
  return typed.tag == TypedTag::region ? static_cast<const Region*>(&typed) : nullptr;
}

// Whether every text that `body` can begin and that ends with a character is one of its texts.
// False when that takes too long to see.
bool ends_anywhere(Store& store, NodeRef body) {
  using State = std::pair<NodeRef, bool>;  // the second: a lead byte may still want more
  std::set<State> seen{{body, false}};
  std::vector<State> work{{body, false}};
  while (!work.empty() && store.ok()) {
    auto [node, inside] = work.back();
    work.pop_back();
    ByteSet bytes = store.first(node);
    bool whole = (bytes & kInner).empty() || !inside;
    if (whole && !store.nullable(node)) return false;
    while (!bytes.empty()) {
      auto byte = static_cast<uint8_t>(bytes.lowest());
      ByteSet alike = store.same(node, byte) &
                      (byte < 0x80 ? ByteSet::range(0, 0x7F) : ByteSet::range(0x80, 0xFF));
      bytes &= ~alike;
      bytes.erase(byte);
      NodeRef to = store.derive(node, byte);
      if (to == store.empty()) continue;
      State next{to, byte >= 0x80};
      if (seen.insert(next).second) work.push_back(next);
      if (seen.size() > kMostStates) return false;
    }
  }
  return store.ok();
}

}  // namespace

NodeRef shortest(Store& store, NodeRef body) {
  if (store.nullable(body)) return store.eps();
  NodeRef longer = store.cat(body, store.plus(store.any_byte()));
  return store.both(body, store.complement(longer));
}

NodeRef within_chars(Store& store, NodeRef body, uint32_t most) {
  if (most == kOpen) return body;
  if (most == 0) return shortest(store, body);
  NodeRef odd = store.both(body, store.complement(store.any_text()));
  if (ends_anywhere(store, body) && !has_member(store, odd)) {
    return store.both(body, store.repeat(store.any_char(), 0, most));
  }
  NodeRef inner = store.star(store.byte_set(kInner));
  NodeRef unit = store.cat(store.byte_set(~kInner), inner);
  NodeRef spent = store.cat(inner, store.repeat(unit, most, kOpen));
  NodeRef longer = store.cat(store.both(body, spent), store.plus(store.any_byte()));
  return store.both(body, store.complement(longer));
}

NodeRef region_node(Store& store, NodeRef body, const RegionForm& form) {
  return Region::wrap(store, form, body, false);
}

void front_regions(const Store& store, NodeRef residual,
                   const std::function<void(const RegionView&)>& take) {
  std::vector<NodeRef> work{residual};
  while (!work.empty()) {
    NodeRef at = work.back();
    work.pop_back();
    const Node& node = store.node(at);
    if (node.kind == Kind::any_of) {
      for (NodeRef child : store.children(at)) work.push_back(child);
    } else if (node.kind == Kind::concat) {
      if (store.node(node.a).facts.nullable) work.push_back(node.b);
      work.push_back(node.a);
    } else if (node.kind == Kind::repeat) {
      work.push_back(node.a);
    } else if (const Region* region = region_of(store, at)) {
      take({region->form, region->entered});
      work.push_back(region->inner);
    }
  }
}

// Postorder with a stack of our own. Only the front of a sequence can have been entered.
NodeRef end_regions(Store& store, NodeRef residual,
                    const std::function<bool(const RegionForm&)>& spent) {
  struct Frame {
    NodeRef at;
    std::vector<NodeRef> parts;  // still to be visited
    std::vector<NodeRef> made;
  };
  std::vector<Frame> stack;
  NodeRef made = residual;
  auto enter = [&](NodeRef at) {
    const Node& node = store.node(at);
    Frame frame{at, {}, {}};
    if (node.kind == Kind::any_of) {
      std::span<const NodeRef> children = store.children(at);
      frame.parts.assign(children.rbegin(), children.rend());
    } else if (node.kind == Kind::concat) {
      frame.parts = {node.a};
    } else if (const Region* region = region_of(store, at); region && region->entered) {
      frame.parts = {region->inner};
    }
    stack.push_back(std::move(frame));
  };
  enter(residual);
  while (!stack.empty() && store.ok()) {
    Frame& frame = stack.back();
    if (!frame.parts.empty()) {
      NodeRef part = frame.parts.back();
      frame.parts.pop_back();
      enter(part);
      continue;
    }
    made = frame.at;
    if (!frame.made.empty()) {
      const Node node = store.node(frame.at);
      if (node.kind == Kind::any_of) {
        made = store.any_of(frame.made);
      } else if (node.kind == Kind::concat) {
        made = store.cat(frame.made[0], node.b);
      } else {
        RegionForm form = region_of(store, frame.at)->form;
        NodeRef inner = frame.made[0];
        if (form.max_tokens != kOpen && spent(form)) {
          form.max_tokens = kOpen;
          inner = shortest(store, inner);
        }
        bool plain = form.max_tokens == kOpen && form.temperature < 0;
        made = plain ? inner : Region::wrap(store, form, inner, true);
      }
    }
    stack.pop_back();
    if (!stack.empty()) stack.back().made.push_back(made);
  }
  return made;
}

}  // namespace treadle
