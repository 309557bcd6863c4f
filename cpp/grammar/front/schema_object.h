// The object part of a form: which keys it names, which value each takes, what other keys may be.
#pragma once

#include "grammar/front/schema_form.h"

namespace treadle::schema {

// `place` is that of the object, but its role that of the members' values: json, or member in a
// style.
Result<NodeRef> object_of(Store& store, const SourceRef& source, const Form& form, Place place,
                          bool loose, Fuel& fuel);

}  // namespace treadle::schema
