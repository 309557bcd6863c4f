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

// `reference` against `base`, without its fragment.
std::string resolve_uri(std::string_view base, std::string_view reference);

class Index {
 public:
  // One pass over the document. `Source::dialect` must be set.
  explicit Index(const Source& source);

  // The node that a reference standing at `from` points to; nothing if it is not in the document.
  // Source: RFC 3986 section 5.2, RFC 6901, JSON Schema core 2020-12 sections 8.2 and 9.
  [[nodiscard]] std::optional<uint32_t> find(json::Value from, std::string_view reference) const;

  // The URI, without fragment, that a reference standing at `from` leads to.
  [[nodiscard]] std::string target(json::Value from, std::string_view reference) const {
    return resolve_uri(base_.at(resource_[from.index()]), reference);
  }
  [[nodiscard]] bool has_uri(const std::string& uri) const { return by_uri_.contains(uri); }

  // The root of the schema resource that a node of the caller's document stands in.
  [[nodiscard]] uint32_t resource(uint32_t node) const { return resource_[node]; }
  // The dynamic anchors of a resource; "#" names a root with `$recursiveAnchor`.
  [[nodiscard]] const std::map<std::string, uint32_t>& dynamic_anchors(uint32_t resource) const {
    const auto found = dynamic_.find(resource);
    return found == dynamic_.end() ? none_ : found->second;
  }
  // Whether some reference depends on where the validation came from.
  [[nodiscard]] bool dynamic() const { return !dynamic_.empty(); }
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
  std::map<uint32_t, std::map<std::string, uint32_t>> dynamic_;  // resource -> its dynamic anchors
  std::map<std::string, uint32_t> none_;
  std::string duplicate_;
};

}  // namespace treadle::schema
