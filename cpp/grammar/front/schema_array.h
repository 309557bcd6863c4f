// The array part of a form: which value each item takes, which items are counted.
#pragma once

#include "grammar/front/schema_form.h"

namespace treadle::schema {

// `place` is that of the array, but its role that of the items: json, or item in a style.
Result<NodeRef> array_of(Store& store, const SourceRef& source, const Form& form, Place place,
                         bool loose, Fuel& fuel);

}  // namespace treadle::schema
