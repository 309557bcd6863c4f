// Typed nodes: JSON strings, numbers, objects and arrays, which derive by arithmetic on their own
// state instead of being expanded into unions and sequences.
#pragma once

#include <cstdint>

#include "grammar/ir/node.h"
#include "support/bitset.h"
#include "support/budget.h"
#include "support/digest.h"
#include "support/result.h"

namespace treadle {

class Store;

// Tells concrete classes apart without RTTI, for equals(): compare tags, then static_cast.
enum class TypedTag : uint8_t {
  string,
  number,
  object,
  members,
  after_key,
  array,
  items,
  items_counted,
  items_distinct,
  bare_items,
  value,
  keys,
  free_text,
  other_text,
  other,
  region,
  recorded,
  recorded_rule,
};

// A node that derives like another by all bytes but `differ`.
struct Beside {
  NodeRef node = 0;  // empty(): there is none
  ByteSet differ;
};

// An immutable node that derives lazily. Equal objects are interned as one node, so a Typed holds
// NodeRefs and plain values only, and its hash must depend on nothing else.
class Typed {
 public:
  Typed(TypedTag tag, bool leaf, bool certain = false)
      : tag(tag), leaf(leaf), certain(leaf || certain) {}
  virtual ~Typed() = default;
  Typed(const Typed&) = delete;
  Typed& operator=(const Typed&) = delete;

  virtual uint64_t hash() const = 0;                  // use support/hash.h; seed with the tag
  virtual bool equals(const Typed& other) const = 0;  // called with equal tags only
  virtual uint64_t bytes() const { return 64; }       // memory held, for the budgets
  // Of what equals() compares, with the digests of the nodes in it; leaves only. Unknown: masks of
  // this leaf are not shared between grammars.
  virtual Digest digest(Store&) const { return {}; }

  // A leaf is regular and its language is never empty.
  virtual bool nullable(Store&) const { return false; }
  // A superset of the bytes with a live derivative, or that a rule begins with; the closer, the
  // faster.
  virtual ByteSet first(Store&) const { return ByteSet::all(); }
  // The bytes whose derivative equals that of `byte`, itself included. Larger sets save work.
  virtual ByteSet same(Store&, uint8_t byte) const { return ByteSet::of(byte); }
  // A simpler node beside this one: masks are worked out by what tells the two apart.
  virtual Beside beside(Store&) const { return {}; }
  // The rest after `byte`: empty() exactly when no completion exists. May be any regular node.
  virtual NodeRef derive(Store&, uint8_t byte) const;

  // A rule never matches the empty string, and does not begin with itself.
  // Its body, computed when a state first reaches it; memoised by the Store.
  virtual Result<NodeRef> expand(Store&, Fuel&) const;
  // A small node that is empty exactly when this one is (e.g. the concat of what is required).
  // Liveness is the least fixpoint over witnesses, so a witness may refer back to this rule.
  virtual Result<NodeRef> witness(Store&, Fuel&) const;

  // A node that no text of at most `units` bytes tells from this one, with smaller counters;
  // empty() stands for this node itself.
  virtual NodeRef clamped(Store&, uint32_t units) const;

  const TypedTag tag;
  const bool leaf;
  const bool certain;  // known to match something; saves the store the search for it
};

}  // namespace treadle
