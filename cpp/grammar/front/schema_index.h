// Where a `$ref` leads: base URIs, identifiers, anchors, JSON pointers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/front/schema_source.h"

namespace treadle::schema {

class Index {
 public:
  // One pass over the document. `Source::dialect` must be set.
  explicit Index(const Source& source);

  // The node that a reference standing at `from` points to; nothing if it is not in the document.
  // Source: RFC 3986 section 5.2, RFC 6901, JSON Schema core 2020-12 sections 8.2 and 9.
  [[nodiscard]] std::optional<uint32_t> find(json::Value from, std::string_view reference) const;

  [[nodiscard]] bool has_dynamic_anchor() const { return dynamic_anchor_; }
  [[nodiscard]] bool has_recursive_anchor() const { return recursive_anchor_; }
  // A name that stands twice in one resource; "" if there is none.
  [[nodiscard]] const std::string& duplicate() const { return duplicate_; }

 private:
  void add_ids(json::Value object);
  [[nodiscard]] std::optional<uint32_t> find_pointer(uint32_t root, std::string_view pointer) const;

  const Source& source_;
  std::vector<uint32_t> resource_;           // node -> root node of its schema resource
  std::map<uint32_t, std::string> base_;     // resource root -> its URI, without fragment
  std::map<std::string, uint32_t> by_uri_;   // URI -> resource root
  std::map<std::string, uint32_t> anchors_;  // "URI#name" -> node
  bool dynamic_anchor_ = false;
  bool recursive_anchor_ = false;
  std::string duplicate_;
};

// `reference` against `base`, without its fragment.
std::string resolve_uri(std::string_view base, std::string_view reference);

}  // namespace treadle::schema
