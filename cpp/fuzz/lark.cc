// Any bytes as a Lark grammar, with a second grammar behind a zero byte as @other.
#include "grammar/front/lark.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "grammar/ir/store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  size_t split = std::min(input.find('\0'), input.size());
  treadle::LarkOptions options;
  if (split < input.size()) options.named.emplace_back("other", input.substr(split + 1));
  treadle::Limits limits;
  limits.compile_fuel = 200'000;
  limits.ir_nodes = 100'000;
  treadle::Store store(limits);
  treadle::Notes notes;
  auto node = treadle::parse_lark(store, input.substr(0, split), options, limits, notes);
  if (node.ok() && !store.ok()) __builtin_trap();  // a fault must never pass for success
  return 0;
}
