// Any bytes as a structural tag: an error or a grammar, never a crash; then a text to run through
// it.
#include "grammar/front/tag.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "fuzz/run_text.h"
#include "grammar/front/json_read.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace treadle;
  const Limits limits = fuzz_limits();
  // The first newline parts the tag from a text to run through it.
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t cut = all.find('\n');
  const auto document = json::read(all.substr(0, cut), {});
  if (!document.ok()) return 0;
  auto store = std::make_unique<Store>(limits);
  Notes notes;
  const Result<NodeRef> root = parse_tag(*store, document->root(), limits, notes);
  if (!root.ok() || cut == std::string_view::npos) return 0;
  run_text(std::move(store), *root, all.substr(cut + 1), limits);
  return 0;
}
