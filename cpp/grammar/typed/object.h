// JSON objects: which keys may come next, in any order or the declared one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/ir/node.h"
#include "grammar/typed/layout.h"
#include "grammar/typed/str.h"
#include "support/budget.h"
#include "support/result.h"

namespace treadle {

class Store;

// Another value of a key: it reaches the goals of `gain`, which the plain value need not.
struct KeyClaim {
  uint32_t gain = 0;
  NodeRef value = 0;
  bool operator==(const KeyClaim&) const = default;
};

// A key that the schema names. `value` = empty(): the key must not occur.
struct ObjectKey {
  std::string name;  // UTF-8
  NodeRef value = 0;
  bool required = false;
  std::vector<uint32_t> needs;  // keys that must be present when this one is
  uint32_t gain = 0;            // goals that its presence reaches
  std::vector<KeyClaim> claims;
  bool operator==(const ObjectKey&) const = default;
};

// Keys that the schema does not name and whose value obeys one schema. The texts of different
// ExtraKeys are disjoint and exclude every named key.
struct ExtraKeys {
  NodeRef text = 0;  // regular, over decoded UTF-8
  NodeRef value = 0;
  uint32_t gain = 0;
  bool operator==(const ExtraKeys&) const = default;
};

// An object that is not written as JSON: members follow one another without commas or braces, keys
// are raw text and the node of a value begins right after its key. A view of static data.
struct ObjectFrame {
  std::string_view begin;     // before a key
  std::string_view end = {};  // after a value, with the key repeated and `end_after` behind it;
  std::string_view end_after = {};  // "": the value's node reaches to the end of the member
  bool operator==(const ObjectFrame&) const = default;
};

struct ObjectForm {
  std::vector<ObjectKey> keys;  // in declared order
  std::vector<ExtraKeys> extras;
  uint32_t min = 0;
  uint32_t max = kOpen;
  uint32_t goals = 0;  // bits of what some key must reach before the object ends; no `needs` then
  bool declared_order = false;
  Escapes escapes = Escapes::any;
  Spacing spacing;
  const ObjectFrame* frame = nullptr;  // null: JSON
  NodeRef barred = 0;                  // regular; what a key's spelling must match, unless empty()
  std::vector<uint32_t> sorted;        // indices of keys by name
  uint64_t hash = 0;

  bool operator==(const ObjectForm&) const = default;
  void seal();  // fills sorted and hash
};

// A set of named keys. Few objects have more keys than a word has bits, and copies are many.
class SeenKeys {
 public:
  explicit SeenKeys(size_t keys = 0) : more_(keys > 64 ? (keys - 1) / 64 : 0) {}
  bool operator==(const SeenKeys&) const = default;
  [[nodiscard]] bool has(uint32_t key) const { return (word(key) >> (key & 63)) & 1; }
  void insert(uint32_t key) {
    (key < 64 ? first_ : more_[(key >> 6) - 1]) |= uint64_t{1} << (key & 63);
  }
  [[nodiscard]] uint32_t count() const;
  [[nodiscard]] uint64_t hash(uint64_t seed) const;
  [[nodiscard]] uint64_t bytes() const { return more_.size() * 8; }  // beside its own size

 private:
  [[nodiscard]] uint64_t word(uint32_t key) const {
    return key < 64 ? first_ : more_[(key >> 6) - 1];
  }
  uint64_t first_ = 0;
  std::vector<uint64_t> more_;
};

// What has been read of an object. Only what later bytes depend on: two objects that must go on
// alike have equal states.
struct ObjectState {
  SeenKeys seen;         // the named keys read so far
  uint32_t members = 0;  // counted only if there is a maximum
  uint32_t next = 0;     // declared order: named keys before it are closed
  uint32_t goals = 0;    // those reached
  bool extra = false;    // an unnamed key was read, and the minimum is not reached yet

  bool operator==(const ObjectState&) const = default;
  [[nodiscard]] bool has(uint32_t key) const { return seen.has(key); }
  [[nodiscard]] uint32_t distinct() const;  // keys known to differ from one another
  [[nodiscard]] uint64_t hash() const;
};

using ObjectFormRef = std::shared_ptr<const ObjectForm>;

// The whole object, from { to }, or all its members if it has a frame. A typed rule follows the
// brace: later keys are worked out when a state reaches them, by the rule that after every step the
// required keys and the counts can still be met.
NodeRef object_node(Store& store, ObjectFormRef form);

}  // namespace treadle
