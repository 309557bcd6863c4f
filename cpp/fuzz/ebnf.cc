// Any bytes as an EBNF grammar.
#include "grammar/front/ebnf.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "grammar/ir/store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  treadle::Limits limits;
  limits.compile_fuel = 200'000;
  treadle::Store store(limits);
  auto node = treadle::parse_ebnf(store, input, "root", limits);
  if (node.ok() && !store.ok()) __builtin_trap();  // a fault must never pass for success
  return 0;
}
