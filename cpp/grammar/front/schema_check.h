// The eager pass: every keyword that can be reached is enforced, noted or refused before a state
// exists, so nothing is found wanting later.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "grammar/front/schema_dynamic.h"
#include "grammar/front/schema_index.h"
#include "grammar/front/schema_source.h"

namespace treadle::schema {

class Checker {
 public:
  Checker(Store& store, const SourceRef& source, const Index& index, const Limits& limits,
          Notes& notes, Fuel& fuel);

  // Reads the document from its root. On success `Source` holds all that expansion needs.
  Status run();

 private:
  enum Seen : uint8_t { kHolds = 1, kFails = 2, kRead = 4 };
  // A schema that must hold where it stands, or (origin) must fail on behalf of that argument.
  struct Task {
    uint32_t node;
    uint32_t origin = json::kNone;
  };

  // schema_check.cc: which keywords are enforced
  Status read(json::Value schema);
  Status read_keyword(json::Value argument);
  Status visit(const Task& task);
  Status visit_keyword(json::Value schema, json::Value argument);
  Status visit_applicator(json::Value schema, json::Value argument, Keyword keyword);
  Status visit_array(json::Value argument, Keyword keyword);
  Status visit_object(json::Value schema, json::Value argument, Keyword keyword);
  Status read_reference(json::Value argument, Keyword keyword);
  Status read_text(json::Value argument, Keyword keyword);
  Status read_format(json::Value argument);
  Status read_patterns(json::Value argument);
  bool foreign(Keyword keyword) const;
  Result<bool> countable(json::Value schema, uint32_t least);

  // schema_distinct.cc: which items can be told apart
  Status check_uniques();
  Result<bool> items_parted(json::Value schema);

  // schema_refute.cc: which can be negated, which choices exclude one another, which loop
  Status visit_refuted(const Task& task);
  Status refute_keyword(const Task& task, json::Value schema, json::Value argument);
  Result<bool> has_dual(json::Value argument, Keyword keyword);
  Status refuse_negation(json::Value origin, json::Value argument);
  Status loosen(json::Value list);
  Status part_choices();
  Status part_choice(json::Value list);
  Status find_loops() const;
  Status trace(json::Value argument);  // schema_uneval.cc
  bool tells(uint32_t root) const;
  Status count_branches();
  std::vector<uint32_t> in_place(json::Value schema) const;

  // schema_syntax.cc: what an argument must look like
  Status syntax(json::Value argument, Keyword keyword) const;
  Status wrong(json::Value argument, std::string_view expected) const;
  Status number(json::Value argument) const;
  Status names(json::Value argument) const;
  Status types(json::Value argument) const;
  Status count(json::Value argument, bool natural) const;
  Status number_syntax(json::Value argument, Keyword keyword) const;
  Status literals(json::Value argument) const;

  Status refuse(json::Value argument, std::string text);
  void note(json::Value argument, std::string text);
  uint8_t& seen(uint32_t node) {
    if (node >= seen_.size()) seen_.resize(source_->doc.nodes.size(), 0);
    return seen_[node];
  }
  void need(json::Value schema) { tasks_.push_back({schema.index()}); }
  void need_refuted(json::Value schema, json::Value origin) {
    tasks_.push_back({schema.index(), origin.index()});
  }

  Store& store_;
  const SourceRef& source_;
  const Index& index_;
  Scopes scopes_;
  const Limits& limits_;
  Notes& notes_;
  Fuel& fuel_;
  std::vector<Task> tasks_;
  std::vector<uint8_t> seen_;              // schema -> Seen
  std::unordered_set<uint32_t> loosened_;  // arguments of oneOf taken as anyOf
  std::vector<uint32_t> branching_;        // schemas with alternatives
  std::vector<uint32_t> one_ofs_;          // arguments of oneOf still to be parted
  std::vector<uint32_t> uniques_;          // arguments of uniqueItems still to be proved
  std::vector<uint32_t> tracing_;          // arguments of unevaluated... still to be traced
  std::unordered_map<std::string, NodeRef> patterns_;
};

}  // namespace treadle::schema
