// Any bytes as a structural tag: an error or a grammar, never a crash; then a text to run through
// it.
#include "grammar/front/tag.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "grammar/front/json_read.h"
#include "grammar/run/state.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace treadle;
  Limits limits;
  limits.compile_fuel = 200'000;
  limits.step_fuel = 200'000;
  limits.ir_nodes = 100'000;
  limits.derived_nodes = 100'000;
  limits.branches = 256;
  // The first newline parts the tag from a text to run through it.
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t cut = all.find('\n');
  const auto document = json::read(all.substr(0, cut), {});
  if (!document.ok()) return 0;
  auto store = std::make_unique<Store>(limits);
  Notes notes;
  const Result<NodeRef> root = parse_tag(*store, document->root(), limits, notes);
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
