// The array part of a form: which value each item takes, which items are counted.
#pragma once

#include "grammar/front/schema_form.h"

namespace treadle::schema {

Result<NodeRef> array_of(Store& store, const SourceRef& source, const Form& form, bool loose,
                         Fuel& fuel);

}  // namespace treadle::schema
