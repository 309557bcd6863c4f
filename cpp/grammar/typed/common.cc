// What nearly every grammar speaks of. Each store begins as a copy of it, which takes a tenth of
// the time of making it.
#include "grammar/ir/store.h"
#include "grammar/typed/num.h"
#include "grammar/typed/str.h"

namespace treadle {

// Plain nodes only: typed ones belong to one store.
const Store& Store::common() {
  static const Store* const made = [] {
    auto* store = new Store(Bare{});
    store->any_text();
    spelled_any(*store);
    number_node(*store, {});
    return store;
  }();
  return *made;
}

}  // namespace treadle
