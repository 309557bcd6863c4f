#include "grammar/run/loop.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "grammar/typed/dispatch.h"
#include "grammar/typed/str.h"

namespace treadle {

namespace {

constexpr int kLoopDepth = 4;     // unions and sequences looked into
constexpr size_t kBranches = 64;  // alternatives looked at

unsigned width(const CharClass& chars) {
  return chars.ascii.count() + (chars.beyond ? 256 : 0);
}

// The ASCII characters that stand for themselves in a JSON string.
ByteSet raw_json() {
  ByteSet out = ByteSet::range(0x20, 0x7F);
  out.erase('"');
  out.erase('\\');
  return out;
}

// A handful of characters is most tokens, so the class counts for more than the number of units.
bool better(const Loop& a, const Loop& b) {
  constexpr uint32_t kMostTokens = 8;
  return std::min(a.units, kMostTokens) * width(a.chars) >
         std::min(b.units, kMostTokens) * width(b.chars);
}

// Free text goes on for ever with characters that begin nothing it excludes.
Loop open_loop(const ByteSet& bytes) {
  Loop out;
  out.chars.ascii = bytes & ByteSet::range(0, 0x7F);
  out.chars.beyond = (ByteSet::range(0xC2, 0xF4) & ~bytes).empty();
  out.units = out.chars.empty() ? 0 : kOpen;
  return out;
}

// The parts of a union that begin with one of `bytes`.
std::vector<NodeRef> beginning(Store& store, NodeRef node, const ByteSet& bytes) {
  if (store.node(node).kind != Kind::any_of) return {node};
  const std::span<const NodeRef> all = store.children(node);
  std::vector<NodeRef> out(all.begin(), all.end());  // the store may grow
  std::erase_if(out, [&](NodeRef part) { return (store.first(part) & bytes).empty(); });
  return out;
}

// Whether `node`, which begins with `starts`, reads every character beyond ASCII as any character
// does.
bool takes_beyond(Store& store, NodeRef node, const ByteSet& starts) {
  ByteSet leads = ByteSet::range(0xC2, 0xF4);
  if (!(leads & ~starts).empty()) return false;
  const NodeRef any_char = store.any_char();
  // Equal parts have equal derivatives: those of most strings are made of the same ones.
  if (beginning(store, node, leads) == beginning(store, any_char, leads)) return true;
  for (; !leads.empty(); leads &= ~ByteSet::of(static_cast<uint8_t>(leads.lowest()))) {
    auto byte = static_cast<uint8_t>(leads.lowest());
    if (store.derive(node, byte) != store.derive(any_char, byte)) return false;
    leads &= ~(store.same(node, byte) & store.same(any_char, byte));
  }
  return true;
}

bool apart(const ByteSet& first, const CharClass& chars) {
  ByteSet taken = chars.ascii;
  if (chars.beyond) taken |= ByteSet::range(0x80, 0xFF);
  return (first & taken).empty();
}

}  // namespace

const Loops::Unit& Loops::unit_of(Store& store, NodeRef node) {
  static const Unit kNone;
  auto found = units_.find(node);
  if (found != units_.end()) return found->second;
  Unit out;
  CharClass& chars = out.chars;
  ByteSet starts = store.first(node);
  ByteSet left = starts & ByteSet::range(0, 0x7F);
  while (!left.empty()) {
    auto byte = static_cast<uint8_t>(left.lowest());
    ByteSet alike = store.same(node, byte) & left;
    alike.insert(byte);
    NodeRef rest = store.derive(node, byte);
    if (store.nullable(rest)) {
      chars.ascii |= alike;
      out.single = out.single && rest == store.eps();
    }
    left &= ~alike;
  }
  chars.beyond = takes_beyond(store, node, starts);
  if (!store.ok()) return kNone;  // a spent budget makes every derivative look alike
  return units_[node] = out;
}

// What follows a residual that may be empty is not known here.
Loop Loops::find(Store& store, NodeRef residual) {
  Loop out = in(store, residual, false, 0);
  if (out.longer == Loop::Longer::behind) {
    out.longer = store.nullable(residual) ? Loop::Longer::maybe : Loop::Longer::no;
  }
  return out;
}

// `decoded`: inside a JSON string, where only characters that stand for themselves count.
Loop Loops::in(Store& store, NodeRef ref, bool decoded, int depth) {
  const Node node = store.node(ref);
  if (depth > kLoopDepth) return {};
  switch (node.kind) {
    case Kind::repeat: {
      Loop out;
      if (!node.facts.regular || node.hi == 0) return out;
      const Unit& unit = unit_of(store, node.a);
      out.chars = unit.chars;
      if (decoded) out.chars.ascii &= raw_json();
      out.units = out.chars.empty() ? 0 : node.hi;
      if (!unit.single) out.longer = Loop::Longer::maybe;
      return out;
    }
    case Kind::concat: {
      Loop out = in(store, node.a, decoded, depth + 1);
      if (out.units == 0 || out.longer != Loop::Longer::behind) return out;
      bool blocked = !store.nullable(node.b) && apart(store.first(node.b), out.chars);
      out.longer = blocked ? Loop::Longer::no : Loop::Longer::maybe;
      return out;
    }
    case Kind::any_of: {
      std::span<const NodeRef> children = store.children(ref);
      if (children.size() > kBranches) return {};
      std::vector<NodeRef> copy(children.begin(), children.end());  // the store may grow
      size_t which = 0;
      return beside(store, copy, which, decoded, depth + 1);
    }
    case Kind::leaf: {
      if (std::optional<ByteSet> free = free_bytes(store, ref)) return open_loop(*free);
      NodeRef text = raw_text(store, ref);
      return text == store.empty() ? Loop{} : in(store, text, true, depth + 1);
    }
    default:
      return {};
  }
}

Loop Loops::beside(Store& store, std::span<const NodeRef> nodes, size_t& which, bool decoded,
                   int depth) {
  Loop best;
  for (size_t i = 0; i < nodes.size(); ++i) {
    Loop loop = in(store, nodes[i], decoded, depth);
    if (loop.units == 0 || (best.units != 0 && !better(loop, best))) continue;
    best = loop;
    which = i;
  }
  for (size_t i = 0; i < nodes.size() && best.units != 0; ++i) {
    if (i == which) continue;
    if (!apart(store.first(nodes[i]), best.chars)) best.longer = Loop::Longer::maybe;
    // Past an empty alternative stands what follows all of them.
    bool open = best.longer == Loop::Longer::no && store.nullable(nodes[i]);
    if (open) best.longer = Loop::Longer::behind;
  }
  return best;
}

}  // namespace treadle
