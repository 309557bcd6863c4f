// What a module tells of itself: objects alive, the last error, its limits.
#include "bind/wasm_objects.h"
#include "bind/wasm_options.h"

namespace treadle::wasm {

extern "C" {

// How many objects are alive.
__attribute__((export_name("tr_live"))) int32_t tr_live() {
  return static_cast<int32_t>(module().table.live());
}

// The error of the last call that failed, as JSON; its length.
__attribute__((export_name("tr_error"))) int32_t tr_error(uint32_t buffer, uint32_t capacity) {
  return copy_out(error_json(module().error, module().kind), buffer, capacity);
}

// The limits that hold unless the caller says otherwise, as JSON; its length.
__attribute__((export_name("tr_limits"))) int32_t tr_limits(uint32_t buffer, uint32_t capacity) {
  return copy_out(default_limits(), buffer, capacity);
}

}  // extern "C"

}  // namespace treadle::wasm
