// Any bytes as a schema: an error or a grammar, never a crash; then the same bytes as a text.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "fuzz/run_text.h"
#include "grammar/front/schema.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace treadle;
  if (size < 2) return 0;
  const Limits limits = fuzz_limits();
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
  run_text(std::move(store), *root, all.substr(cut + 1), limits);
  return 0;
}
