// Ordered JSON reader: one flat array of nodes, so neither reading nor freeing recurses.
//
// Numbers keep their spelling (no floats), object members keep their order, a duplicate key is an
// error. Strings are decoded to UTF-8. Every error carries line:column and the JSON pointer of the
// value that was being read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "support/result.h"

namespace treadle::json {

enum class Kind : uint8_t { null, boolean, number, string, array, object };

// "null", "boolean", ...: the word that error messages use.
std::string_view kind_name(Kind kind);

inline constexpr uint32_t kNone = UINT32_MAX;

struct Node {
  Kind kind = Kind::null;
  bool truth = false;                // booleans
  uint32_t parent = kNone;           // index of the enclosing array or object
  uint32_t next = kNone;             // next sibling
  uint32_t first = kNone;            // first child
  uint32_t count = 0;                // children
  uint32_t text = 0, text_size = 0;  // decoded string or number spelling, in Document::text
  uint32_t key = 0, key_size = 0;    // member name, in Document::text
};

class Value;

class Document {
 public:
  [[nodiscard]] Value root() const;
  [[nodiscard]] Value at(uint32_t index) const;
  [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(nodes.size()); }

  std::vector<Node> nodes;  // preorder; nodes[0] is the root
  std::string text;
};

// A light handle to one node; valid while its Document lives at the same address. A default
// handle stands for "absent" and is false.
class Value {
 public:
  Value() = default;
  Value(const Document* doc, uint32_t index) : doc_(doc), index_(index) {}

  explicit operator bool() const { return doc_ != nullptr; }
  [[nodiscard]] uint32_t index() const { return index_; }
  [[nodiscard]] Kind kind() const { return node().kind; }
  [[nodiscard]] bool is_null() const { return kind() == Kind::null; }
  [[nodiscard]] bool is_boolean() const { return kind() == Kind::boolean; }
  [[nodiscard]] bool is_number() const { return kind() == Kind::number; }
  [[nodiscard]] bool is_string() const { return kind() == Kind::string; }
  [[nodiscard]] bool is_array() const { return kind() == Kind::array; }
  [[nodiscard]] bool is_object() const { return kind() == Kind::object; }

  [[nodiscard]] bool truth() const { return node().truth; }
  // The decoded text of a string, or the spelling of a number.
  [[nodiscard]] std::string_view text() const;
  // The member name under which this value stands in its object.
  [[nodiscard]] std::string_view key() const;
  // Number of items or members.
  [[nodiscard]] uint32_t size() const { return node().count; }
  [[nodiscard]] Value parent() const;
  // The first child, the next sibling; absent when there is none.
  [[nodiscard]] Value first() const;
  [[nodiscard]] Value next() const;
  // The member called `name`, or an absent value. Linear in the number of members.
  [[nodiscard]] Value get(std::string_view name) const;
  // The item at `position` of an array, or an absent value. Linear.
  [[nodiscard]] Value item(size_t position) const;
  // RFC 6901 pointer from the root, "" for the root itself.
  [[nodiscard]] std::string pointer() const;

  class Iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = Value;
    using difference_type = std::ptrdiff_t;
    using pointer = const Value*;
    using reference = Value;

    Iterator(const Document* doc, uint32_t index) : doc_(doc), index_(index) {}
    Value operator*() const { return {doc_, index_}; }
    Iterator& operator++() {
      index_ = doc_->nodes[index_].next;
      return *this;
    }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const Document* doc_;
    uint32_t index_;
  };
  // Children in source order: items of an array, member values of an object (see `key`).
  [[nodiscard]] Iterator begin() const { return {doc_, node().first}; }
  [[nodiscard]] Iterator end() const { return {doc_, kNone}; }

 private:
  [[nodiscard]] const Node& node() const { return doc_->nodes[index_]; }
  const Document* doc_ = nullptr;
  uint32_t index_ = 0;
};

struct ReadLimits {
  uint64_t bytes = 16u << 20;
  uint64_t depth = 1000;
};

// Reads one JSON text. Errors: syntax (RFC 8259, duplicate keys, lone surrogates, invalid UTF-8)
// with "line:column" in `at`; LimitExceeded for `source_bytes` and `source_depth`.
Result<Document> read(std::string_view source, const ReadLimits& limits);

// `text` as one RFC 6901 reference token (`~` and `/` escaped).
std::string pointer_token(std::string_view text);

}  // namespace treadle::json
