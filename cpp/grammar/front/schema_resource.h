// Schemas of other documents that the caller gives by their URIs.
#pragma once

#include "grammar/front/schema_source.h"

namespace treadle::schema {

// Appends to the document those of `options.resources` that its references lead to, and those that
// they refer to in turn. Errors: syntax inside a resource, LimitExceeded for their bytes together,
// unsupported when one is written in another dialect.
Status add_resources(Source& source, const Limits& limits);

}  // namespace treadle::schema
