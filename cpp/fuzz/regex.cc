// Any bytes as a pattern, with the first byte as flags and a text to run after a zero byte.
#include "grammar/front/regex.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "grammar/ir/store.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  treadle::RegexOptions options;
  options.search = (data[0] & 1) != 0;
  options.ignore_case = (data[0] & 2) != 0;
  options.multiline = (data[0] & 4) != 0;
  options.extended = (data[0] & 8) != 0;
  input.remove_prefix(1);
  size_t split = std::min(input.find('\0'), input.size());

  treadle::Limits limits;
  limits.compile_fuel = 200'000;
  limits.derived_nodes = 20'000;
  treadle::Store store(limits);
  auto node = treadle::parse_regex(store, input.substr(0, split), options, limits);
  if (!node.ok()) return 0;
  treadle::Fuel fuel("step_fuel", 200'000);
  store.set_fuel(&fuel);
  store.matches(*node, input.substr(split));
  store.set_fuel(nullptr);
  return 0;
}
