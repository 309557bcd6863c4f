// References by dynamic scope: a schema that is reached under another scope becomes a copy of its
// own, in which every reference has one target again.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "grammar/front/schema_index.h"
#include "grammar/front/schema_source.h"

namespace treadle::schema {

class Scopes {
 public:
  Scopes(Source& source, const Index& index) : source_(source), index_(index) {}

  // The node that the reference `argument` leads to, `target` being what its URI names. Copies draw
  // on the fuel. Source: JSON Schema core 2020-12 section 8.2.3.2, 2019-09 section 8.2.4.2.
  Result<uint32_t> follow(json::Value argument, Keyword keyword, uint32_t target, Fuel& fuel);

 private:
  // Dynamic anchor -> the first node of that name on the way here; "#" for $recursiveAnchor.
  using Scope = std::map<std::string, uint32_t>;

  [[nodiscard]] Scope scope_at(uint32_t node) const;
  uint32_t copy_of(uint32_t root);

  Source& source_;
  const Index& index_;
  std::map<std::pair<uint32_t, Scope>, uint32_t> copies_;
  std::map<uint32_t, Scope> entered_;  // root of a copy -> the scope around it
};

}  // namespace treadle::schema
