// The object part of a form: which keys it names, which value each takes, what other keys may be.
#pragma once

#include "grammar/front/schema_form.h"

namespace treadle::schema {

// `role` is that of the members' values: json, or member for an object in the source's style.
Result<NodeRef> object_of(Store& store, const SourceRef& source, const Form& form, Role role,
                          bool loose, Fuel& fuel);

}  // namespace treadle::schema
