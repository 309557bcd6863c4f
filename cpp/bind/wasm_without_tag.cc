// Stands in the place of front/tag*.cc in a module that was built without them.
#include "grammar/front/tag.h"

namespace treadle {

Result<NodeRef> parse_tag(Store&, const json::Value&, const Limits&, Notes&, RuleMarks*) {
  return unsupported("", "this module was built without the front end \"tag\"; load the whole one");
}

}  // namespace treadle
