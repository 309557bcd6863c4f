// Random grammars under random tokens: the first bytes build nodes on a stack, the rest are tokens.
// Whatever happens, a mask agrees with accept(), and a failed matcher leaves the others alone.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "grammar/run/matcher.h"

namespace {

using namespace treadle;

constexpr size_t kSteps = 24;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ == size_; }
  uint8_t next() { return empty() ? 0 : data_[at_++]; }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

NodeRef pop(std::vector<NodeRef>& stack, Store& store) {
  if (stack.empty()) return store.eps();
  NodeRef node = stack.back();
  stack.pop_back();
  return node;
}

NodeRef build(Store& store, Input& input) {
  std::vector<NodeRef> stack;
  RuleId rules[3] = {store.declare("a"), store.declare("b"), store.declare("c")};
  for (size_t steps = input.next() % 64; steps > 0; --steps) {
    uint8_t op = input.next();
    uint8_t arg = input.next();
    char letter = static_cast<char>('a' + arg % 3);
    if (op % 10 < 2) stack.push_back(store.bytes({&letter, 1}));
    if (op % 10 == 2) stack.push_back(store.ref(rules[arg % 3]));
    if (op % 10 == 3) stack.push_back(store.cat(pop(stack, store), pop(stack, store)));
    if (op % 10 == 4) stack.push_back(store.alt(pop(stack, store), pop(stack, store)));
    if (op % 10 == 5) {
      uint32_t hi = arg & 8 ? kOpen : arg % 4 + (arg >> 4);
      stack.push_back(store.repeat(pop(stack, store), arg % 4, hi));
    }
    if (op % 10 == 6) store.define(rules[arg % 3], pop(stack, store));
    if (op % 10 == 7) stack.push_back(store.byte_set(ByteSet::range('a', 'a' + arg % 3)));
    if (op % 10 >= 8) {
      NodeRef x = pop(stack, store);
      NodeRef y = pop(stack, store);
      bool plain = store.regular(x) && store.regular(y);
      if (plain) stack.push_back(op % 10 == 8 ? store.both(x, y) : store.complement(x));
    }
  }
  while (stack.size() > 1) stack.push_back(store.alt(pop(stack, store), pop(stack, store)));
  return pop(stack, store);
}

VocabRef vocabulary() {
  static const std::vector<TokenSpec> specs = {{"a"},   {"b"},    {"c"},  {"ab"},
                                               {"bca"}, {"aaaa"}, {"cb"}, {"", TokenKind::control}};
  VocabOptions options;
  options.stop_ids = {7};
  return Vocab::build(specs, options).take();
}

void run(Matcher& matcher, Input& input) {
  for (size_t step = 0; step < kSteps && !input.empty(); ++step) {
    uint32_t row[1] = {0};
    if (!matcher.fill(row).ok()) return;
    for (TokenId token = 0; token < 8; ++token) {
      Result<bool> legal = matcher.fork().accept(token);
      if (legal.ok() && *legal != (row[0] >> token & 1)) abort();
    }
    uint64_t before = matcher.steps();
    Result<bool> taken = matcher.accept(input.next() % 8);
    if (!taken.ok()) return;
    if (matcher.steps() != before + *taken) abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const VocabRef vocab = vocabulary();
  Limits limits;
  limits.ir_nodes = 4'000;
  limits.derived_nodes = 4'000;
  limits.compile_fuel = 200'000;
  limits.step_fuel = 400'000;
  limits.configs = 64;
  limits.stack_depth = 40;
  Input input(data, size);
  auto store = std::make_unique<Store>(limits);
  NodeRef root = build(*store, input);
  if (!store->ok()) return 0;
  Result<CompiledRef> compiled =
      Compiled::build(std::move(store), root, vocab, MaskMemos::within(limits.cache_bytes), limits);
  if (!compiled.ok()) return 0;
  Matcher matcher = Matcher::make(*compiled, vocab->stop_ids()).take();
  run(matcher, input);
  matcher.reset();
  if (matcher.forced().ok() && !matcher.validate(std::vector<TokenId>{0, 1, 2}).ok()) return 0;
  return 0;
}
