// Stands in the place of front/ebnf*.cc in a module that was built without them.
#include "grammar/front/ebnf.h"

namespace treadle {

Result<NodeRef> parse_ebnf(Store&, std::string_view, std::string_view, const Limits&, RuleMarks*) {
  return unsupported("",
                     "this module was built without the front end \"ebnf\"; load the whole one");
}

}  // namespace treadle
