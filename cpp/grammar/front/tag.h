// Structural tags: formats that combine literals, grammars, schemas and free text.
#pragma once

#include "grammar/front/json_read.h"
#include "grammar/front/rule_options.h"
#include "grammar/front/schema.h"
#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle {

// Reads {"type": "structural_tag", "format": {...}} (or a bare format) and lowers it. Notes of
// embedded schemas are appended with their JSON pointer. Unknown fields, unknown formats and
// formats of a later release are GrammarErrors at the field's pointer.
Result<NodeRef> parse_tag(Store& store, const json::Value& tag, const Limits& limits, Notes& notes,
                          RuleMarks* marks = nullptr);

}  // namespace treadle
