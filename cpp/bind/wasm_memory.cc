// Memory of the module: what callers borrow, and what happens when there is none left.
#include <cstdlib>
#include <new>

#include "bind/wasm_objects.h"
#include "bind/wasm_options.h"

namespace {

bool exhausted = false;

}  // namespace

// The core has no exceptions: an allocation that fails ends the instance by a trap. The flag stays
// readable, so that the caller can tell it from a fault.
void* operator new(std::size_t size) {
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  exhausted = true;
  __builtin_trap();
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

// A failed check of the library is a trap too; its own handler would bring a whole stdio along.
_LIBCPP_BEGIN_NAMESPACE_STD
[[noreturn]] void __libcpp_verbose_abort(const char*, ...) noexcept {
  __builtin_trap();
}
_LIBCPP_END_NAMESPACE_STD

namespace treadle::wasm {

extern "C" {

// Memory for arguments and answers; 0 when there is none.
__attribute__((export_name("tr_alloc"))) uint32_t tr_alloc(uint32_t size) {
  return reinterpret_cast<uint32_t>(std::malloc(size ? size : 1));
}

__attribute__((export_name("tr_free"))) void tr_free(uint32_t address) {
  std::free(reinterpret_cast<void*>(address));
}

// 1 after a trap for want of memory.
__attribute__((export_name("tr_exhausted"))) int32_t tr_exhausted() {
  return exhausted ? 1 : 0;
}

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
