#include "grammar/typed/recorded.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "grammar/ir/store.h"
#include "grammar/ir/typed.h"
#include "grammar/typed/str.h"
#include "support/hash.h"

namespace treadle {
namespace {

class Recorded final : public Typed {
 public:
  Recorded(NodeRef inner, std::string read)
      : Typed(TypedTag::recorded, true), inner(inner), read(std::move(read)) {}

  uint64_t hash() const override {
    return hash_bytes(read, mix(static_cast<uint64_t>(tag), inner));
  }
  bool equals(const Typed& other) const override {
    const auto& that = static_cast<const Recorded&>(other);
    return inner == that.inner && read == that.read;
  }
  uint64_t bytes() const override { return sizeof(Recorded) + read.size(); }
  bool nullable(Store& store) const override { return store.nullable(inner); }
  ByteSet first(Store& store) const override { return store.first(inner); }
  ByteSet same(Store&, uint8_t byte) const override { return ByteSet::of(byte); }
  NodeRef derive(Store& store, uint8_t byte) const override {
    return recorded(store, store.derive(inner, byte), read + static_cast<char>(byte));
  }

  const NodeRef inner;
  const std::string read;
};

class RecordedRule final : public Typed {
 public:
  explicit RecordedRule(NodeRef inner)
      : Typed(TypedTag::recorded_rule, false, true), inner_(inner) {}

  uint64_t hash() const override { return mix(static_cast<uint64_t>(tag), inner_); }
  bool equals(const Typed& other) const override {
    return inner_ == static_cast<const RecordedRule&>(other).inner_;
  }
  Result<NodeRef> expand(Store& store, Fuel&) const override { return recorded(store, inner_); }
  Result<NodeRef> witness(Store&, Fuel&) const override { return inner_; }

 private:
  NodeRef inner_;
};

const Recorded* recorded_of(const Store& store, NodeRef node) {
  if (store.node(node).kind != Kind::leaf) return nullptr;
  const Typed& typed = store.typed_of(node);
  return typed.tag == TypedTag::recorded ? static_cast<const Recorded*>(&typed) : nullptr;
}

}  // namespace

NodeRef recorded(Store& store, NodeRef inner, std::string read) {
  if (!has_member(store, inner)) return store.empty();
  return store.typed(std::make_unique<Recorded>(inner, std::move(read)));
}

NodeRef recorded_rule(Store& store, NodeRef inner) {
  return store.typed(std::make_unique<RecordedRule>(inner));
}

NodeRef recorded_inner(const Store& store, NodeRef node) {
  const Recorded* found = recorded_of(store, node);
  return found ? found->inner : store.empty();
}

NodeRef with_inner(Store& store, NodeRef leaf, NodeRef inner) {
  return recorded(store, inner, recorded_of(store, leaf)->read);
}

NodeRef unrecorded(Store& store, NodeRef residual) {
  if (const Recorded* found = recorded_of(store, residual)) return found->inner;
  if (store.node(residual).kind != Kind::any_of) return residual;
  const std::span<const NodeRef> children = store.children(residual);
  std::vector<NodeRef> parts(children.begin(), children.end());
  bool changed = false;
  for (NodeRef& part : parts) {
    const Recorded* found = recorded_of(store, part);
    if (found) part = found->inner;
    changed |= found != nullptr;
  }
  return changed ? store.any_of(parts) : residual;
}

std::vector<std::string> records(const Store& store, NodeRef residual) {
  std::vector<std::string> out;
  const auto add = [&](NodeRef node) {
    const Recorded* found = recorded_of(store, node);
    if (found && store.node(found->inner).facts.nullable) out.push_back(found->read);
  };
  if (store.node(residual).kind != Kind::any_of) {
    add(residual);
    return out;
  }
  for (const NodeRef part : store.children(residual)) add(part);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace treadle
