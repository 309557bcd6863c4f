// Any bytes as a schema: an error or a grammar, never a crash; then the same bytes as a text.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "grammar/front/schema.h"
#include "grammar/run/state.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace treadle;
  if (size < 2) return 0;
  Limits limits;
  limits.compile_fuel = 200'000;
  limits.step_fuel = 200'000;
  limits.ir_nodes = 100'000;
  limits.derived_nodes = 100'000;
  limits.branches = 256;
  SchemaOptions options;
  options.declared_order = data[0] & 1;
  options.lenient = data[0] & 2;
  options.whitespace = data[0] >> 4;
  options.closed = data[0] & 4;
  if (data[0] & 8) {
    options.resources = {{"r", R"({"$id":"r","items":{"$ref":"r"},"prefixItems":[true]})"}};
  }
  // The first newline parts the schema from a text to run through it.
  const std::string_view all(reinterpret_cast<const char*>(data + 1), size - 1);
  const size_t cut = all.find('\n');
  auto store = std::make_unique<Store>(limits);
  Notes notes;
  const Result<NodeRef> root = parse_schema(*store, all.substr(0, cut), options, limits, notes);
  if (!root.ok() || cut == std::string_view::npos) return 0;
  States states(std::move(store), limits);
  if (!states.start(*root).ok()) return 0;
  StateId state = states.start();
  for (const char byte : all.substr(cut + 1)) {
    Fuel fuel("step_fuel", limits.step_fuel);
    state = states.next(state, static_cast<uint8_t>(byte), fuel);
    if (state == kDeadState || state == kFault) break;
  }
  return 0;
}
