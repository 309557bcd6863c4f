#include "grammar/typed/common.h"

#include "grammar/ir/store.h"
#include "grammar/typed/layout.h"
#include "grammar/typed/str.h"

namespace treadle {

// Each store begins as a copy of these nodes, which takes a tenth of the time of making them. Plain
// ones only: typed nodes belong to one store. And only what the start of a schema needs: a larger
// copy costs more than it saves.
const Store& Store::common() {
  static const Store* const made = [] {
    auto* store = new Store(Bare{});
    store->any_text();
    spacing_of(*store, kUsualSpace, std::nullopt, 0);
    return store;
  }();
  return *made;
}

void make_scalars(Store& store, Spelling numbers) {
  if (store.often(Store::Often::spelled) != store.empty()) return;
  const NodeRef letters = store.star(spelled_any(store));
  store.derive(letters, std::string_view(" \\\""));
  store.derive(letters, '"');
  NumberSet set;
  set.spelling = numbers;
  number_node(store, set);
  set.step = Step{1, 0};
  store.derive(number_node(store, set), '1');
}

void name_scalars(Store& store) {
  const NodeRef character = store.often(Store::Often::spelled);
  if (character != store.empty()) store.digest(store.star(character));
}

}  // namespace treadle
