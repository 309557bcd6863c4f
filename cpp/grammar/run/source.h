// What a grammar was written as, and the step from there into a store.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grammar/front/rule_options.h"
#include "grammar/front/schema.h"
#include "grammar/ir/store.h"

namespace treadle {

enum class SourceKind : uint8_t {
  schema,
  json,
  json_object,
  regex,
  ebnf,
  lark,
  choice,
  tag,
  literal,
  concat,
  any_of
};

std::string_view source_kind_name(SourceKind kind);

// An immutable description of a language. Parsing is so cheap that a grammar is kept as its
// sources: joining two grammars is joining their descriptions, and every compiled grammar gets a
// store of its own.
struct Source {
  SourceKind kind = SourceKind::literal;
  std::string text;                  // schema (JSON), pattern, grammar, tag (JSON), literal
  std::string root;                  // ebnf, lark: the first rule
  std::vector<std::string> strings;  // choice; lark: names and texts of its named grammars
  SchemaOptions schema;
  std::vector<std::shared_ptr<const Source>> parts;  // concat, any_of
  uint64_t depth = 1;                                // nesting of parts

  // Injective: equal keys, equal languages built the same way. The key of compile caches.
  std::string key() const;
};

using SourceRef = std::shared_ptr<const Source>;

// A concat or any_of of `parts`; parts of the same kind are opened. The nesting is bounded by
// `source_depth`.
Result<SourceRef> join_sources(SourceKind kind, std::span<const SourceRef> parts,
                               const Limits& limits);

// Parses `source` into `store`. Notes name what was dropped or narrowed; `marks` says what options
// of rules there were, and asks for captures.
Result<NodeRef> build_source(Store& store, const Source& source, const Limits& limits, Notes& notes,
                             RuleMarks* marks = nullptr);

}  // namespace treadle
