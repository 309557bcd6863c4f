// The object part of a form: which keys it names, which value each takes, what other keys may be.
#pragma once

#include "grammar/front/schema_form.h"

namespace treadle::schema {

Result<NodeRef> object_of(Store& store, const SourceRef& source, const Form& form, bool loose,
                          Fuel& fuel);

}  // namespace treadle::schema
