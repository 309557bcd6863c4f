#include "grammar/ir/typed.h"

#include "grammar/ir/store.h"

namespace treadle {

// A leaf overrides derive(), a rule overrides expand() and witness(); the other half is never
// called, so it answers with the language that nothing can reach.
NodeRef Typed::derive(Store& store, uint8_t) const {
  return store.empty();
}

Result<NodeRef> Typed::expand(Store& store, Fuel&) const {
  return store.empty();
}

Result<NodeRef> Typed::witness(Store& store, Fuel&) const {
  return store.empty();
}

NodeRef Typed::clamped(Store& store, uint32_t) const {
  return store.empty();
}

}  // namespace treadle
