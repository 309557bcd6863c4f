// Stands in the place of front/lark*.cc in a module that was built without them.
#include "grammar/front/lark.h"

namespace treadle {

Result<NodeRef> parse_lark(Store&, std::string_view, const LarkOptions&, const Limits&, Notes&,
                           RuleMarks*) {
  return unsupported("",
                     "this module was built without the front end \"lark\"; load the whole one");
}

}  // namespace treadle
