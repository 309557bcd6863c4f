#include "grammar/run/compiled.h"

#include "grammar/ir/leftrec.h"
#include "grammar/typed/common.h"

namespace treadle {

Compiled::Compiled(std::unique_ptr<Store> store, VocabRef vocab, MaskMemos memos,
                   TokenTerminals terminals, const Limits& limits)
    : vocab_(std::move(vocab)),
      memo_(std::move(memos.masks)),
      limits_(limits),
      states_(std::move(store), limits),
      terminals_(std::move(terminals)),
      residuals_(states_.store(), limits.cache_bytes / 8),
      reaches_(states_.store(), residuals_, *vocab_, std::move(memos.reaches)),
      bits_(vocab_->size()) {}

Result<CompiledRef> Compiled::build(std::unique_ptr<Store> store, NodeRef root, VocabRef vocab,
                                    MaskMemos memos, const Limits& limits) {
  Fuel fuel("compile_fuel", limits.compile_fuel);
  store->set_fuel(&fuel);
  Status status = remove_left_recursion(*store, root, fuel);
  store->set_fuel(nullptr);
  if (!status.ok()) return status;
  Result<TokenTerminals> terminals = TokenTerminals::bind(*store, *vocab);
  if (!terminals.ok()) return terminals.status();
  name_scalars(*store);
  store->seal();
  CompiledRef compiled(new Compiled(std::move(store), std::move(vocab), std::move(memos),
                                    std::move(*terminals), limits));
  status = compiled->states_.start(root);
  if (!status.ok()) return status;
  return compiled;
}

uint64_t Compiled::memory() const {
  constexpr uint64_t kScratch = 4;  // a row of bits for each of two walks, and their stacks
  return sizeof(Compiled) + states_.memory() + residuals_.memory() +
         slots_.capacity() * sizeof(MaskSlot) + literals_.capacity() * sizeof(Literal) +
         spelled_.capacity() * sizeof(Spelled) + taken_.capacity() +
         kScratch * (vocab_->size() / 8);
}

}  // namespace treadle
