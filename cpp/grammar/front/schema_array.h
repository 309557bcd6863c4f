// The array part of a form: which value each item takes, which items are counted.
#pragma once

#include "grammar/front/schema_form.h"

namespace treadle::schema {

// `role` is that of the items: json, or item for an array in the source's style.
Result<NodeRef> array_of(Store& store, const SourceRef& source, const Form& form, Role role,
                         bool loose, Fuel& fuel);

}  // namespace treadle::schema
