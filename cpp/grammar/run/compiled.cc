#include "grammar/run/compiled.h"

#include "grammar/ir/leftrec.h"

namespace treadle {

Result<CompiledRef> Compiled::build(std::unique_ptr<Store> store, NodeRef root, VocabRef vocab,
                                    std::shared_ptr<Memo> memo, const Limits& limits) {
  Fuel fuel("compile_fuel", limits.compile_fuel);
  store->set_fuel(&fuel);
  Status status = remove_left_recursion(*store, root, fuel);
  store->set_fuel(nullptr);
  if (!status.ok()) return status;
  store->seal();
  CompiledRef compiled(new Compiled(std::move(store), std::move(vocab), std::move(memo), limits));
  status = compiled->states_.start(root);
  if (!status.ok()) return status;
  return compiled;
}

uint64_t Compiled::memory() const {
  return states_.memory() + slots_.size() * sizeof(MaskSlot);
}

}  // namespace treadle
