// Options of rules, `name[max_tokens=5, capture]`, as EBNF and Lark have them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle {

// What a front end found of options, for whoever runs the grammar. With `keep`, the rules with a
// capture are named and stay rules; without it they cost nothing.
struct RuleMarks {
  bool keep = false;
  bool captures = false;  // some rule has one
  bool regions = false;   // some rule has a token budget or a temperature
  std::unordered_map<RuleId, std::string> names;
};

struct RuleOptions {
  uint32_t max_tokens = kOpen;  // tokens begun inside; spent, the rule ends where it first may
  uint32_t max_chars = kOpen;   // code points, likewise
  float temperature = -1;       // negative: none
  bool lazy = false;            // the rule ends where it first may
  std::string capture;          // "": none
  std::string suffix;           // as spelled, "": none; what ends the rule where it first may
  std::string stop_capture;     // the suffix, captured; "": not
  // The suffix, set by who knows what its spelling means, and its text if it is a mere one.
  NodeRef ending = 0;
  std::string ending_text;
  [[nodiscard]] bool shapes() const {
    return lazy || max_tokens != kOpen || max_chars != kOpen || temperature >= 0 || !suffix.empty();
  }
};

// The options of a block as rule_options_size() finds it; `rule` names a bare `capture`.
Result<RuleOptions> read_rule_options(std::string_view spelled, std::string_view rule,
                                      const std::string& at);

// Sets `ending` of options with a suffix: a text in quotes or, where there are terminals, a /regex/
// or the name of one. `syntax` if it is none of these.
Status read_suffix(Store& store, RuleOptions& options, const std::string& at, const Limits& limits,
                   const std::function<std::optional<NodeRef>(const std::string&)>& terminal);

// The body (regular) under options that shape it; `name` tells regions apart.
NodeRef shaped(Store& store, NodeRef body, const RuleOptions& options, std::string_view name,
               RuleMarks* marks);

// The rules of one grammar that have options, applied when all rules are defined.
class OptionRules {
 public:
  // `tail` comes after the rule, outside of what its options speak of.
  void add(RuleId rule, RuleOptions options, std::string at, NodeRef tail);
  // Options that shape take bodies without recursion, JSON values and tokens: the others are
  // `unsupported`.
  Status apply(Store& store, RuleMarks* marks, Fuel& fuel);

 private:
  struct Entry {
    RuleOptions options;
    std::string at;
    NodeRef tail;
    bool done = false;
    bool open = false;
  };
  struct Flat {
    NodeRef node = 0;
    RuleId wanted = kOpen;  // a rule whose own options have to be applied first
    bool captured = false;  // holds a rule whose capture would be lost
  };
  NodeRef ended(Store& store, NodeRef body, const RuleOptions& options, RuleMarks* marks);
  Result<Flat> flatten(Store& store, NodeRef root, const RuleMarks* marks, const std::string& at,
                       Fuel& fuel);

  std::unordered_map<RuleId, Entry> entries_;
  std::vector<RuleId> order_;
};

}  // namespace treadle
