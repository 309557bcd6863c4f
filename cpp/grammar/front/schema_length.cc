#include "grammar/front/schema_length.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

namespace treadle::schema {
namespace {

bool begins_character(uint8_t byte) {
  return (byte & 0xC0) != 0x80;
}

TextLength of_set(const ByteSet& set) {
  bool begins = false, goes_on = false;
  set.each([&](uint8_t byte) { (begins_character(byte) ? begins : goes_on) = true; });
  return {goes_on ? 0u : 1u, begins ? 1u : 0u};
}

uint64_t sum(uint64_t a, uint64_t b) {
  return std::min(a + b, TextLength::kEndless);
}

uint64_t product(uint64_t length, uint64_t times) {
  if (length == 0 || times == 0) return 0;
  return length > TextLength::kEndless / times ? TextLength::kEndless : length * times;
}

// The lengths of the nodes below one.
class Lengths {
 public:
  explicit Lengths(const Store& store) : store_(store) {}

  TextLength run(NodeRef root) {
    std::vector<NodeRef> open{root};
    while (!open.empty()) {
      const NodeRef ref = open.back();
      const size_t before = open.size();
      if (!known_.contains(ref)) ask(ref, open);
      if (open.size() > before) continue;
      open.pop_back();
      known_.try_emplace(ref, of(ref));
    }
    return known_.at(root);
  }

 private:
  void ask(NodeRef ref, std::vector<NodeRef>& open) const {
    const Node& node = store_.node(ref);
    const auto need = [&](NodeRef part) {
      if (!known_.contains(part)) open.push_back(part);
    };
    if (node.kind == Kind::concat) {
      need(node.a);
      need(node.b);
    } else if (node.kind == Kind::any_of || node.kind == Kind::both) {
      for (const NodeRef part : store_.children(ref)) need(part);
    } else if (node.kind == Kind::repeat) {
      need(node.a);
    }
  }

  TextLength of(NodeRef ref) const {
    const Node& node = store_.node(ref);
    TextLength out{0, 0};
    switch (node.kind) {
      case Kind::eps:
        return out;
      case Kind::bytes:
        for (const char c : store_.text(ref)) {
          out.least += begins_character(static_cast<uint8_t>(c)) ? 1 : 0;
        }
        return {out.least, out.least};
      case Kind::set:
        return of_set(store_.set(ref));
      case Kind::concat: {
        const TextLength head = known_.at(node.a), tail = known_.at(node.b);
        return {sum(head.least, tail.least), sum(head.most, tail.most)};
      }
      case Kind::any_of:
        out.least = TextLength::kEndless;
        for (const NodeRef part : store_.children(ref)) {
          const TextLength one = known_.at(part);
          out = {std::min(out.least, one.least), std::max(out.most, one.most)};
        }
        return out;
      case Kind::both:
        out.most = TextLength::kEndless;
        for (const NodeRef part : store_.children(ref)) {
          const TextLength one = known_.at(part);
          out = {std::max(out.least, one.least), std::min(out.most, one.most)};
        }
        return out;
      case Kind::repeat: {
        const TextLength one = known_.at(node.a);
        const uint64_t most = node.hi == kOpen ? TextLength::kEndless : node.hi;
        return {product(one.least, node.lo), product(one.most, most)};
      }
      default:
        return {};
    }
  }

  const Store& store_;
  std::unordered_map<NodeRef, TextLength> known_;
};

}  // namespace

TextLength length_of(const Store& store, NodeRef text) {
  return Lengths(store).run(text);
}

}  // namespace treadle::schema
