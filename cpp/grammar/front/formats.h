// The languages of JSON Schema's `format`, as regular nodes over decoded text.
#pragma once

#include <string>
#include <string_view>

#include "grammar/ir/store.h"
#include "grammar/run/limits.h"
#include "support/result.h"

namespace treadle::schema {

enum class FormatKind : uint8_t {
  exact,       // enforced: the standard's language
  subset,      // enforced: a sound part of it
  annotation,  // known, says nothing about the text (int32, password, ...)
  unknown,     // nobody's
};

FormatKind format_kind(std::string_view name);

// The texts of an exact or subset format.
Result<NodeRef> format_text(Store& store, std::string_view name, const Limits& limits);

// The patterns behind it, one table a theme; "" for names of another table.
std::string time_pattern(std::string_view name);
std::string net_pattern(std::string_view name);
std::string misc_pattern(std::string_view name);

}  // namespace treadle::schema
