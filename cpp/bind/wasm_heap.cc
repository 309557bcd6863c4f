// The heap of a module: what callers borrow, and what happens when there is none left.
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

bool exhausted = false;

}  // namespace

// There are no exceptions: an allocation that fails ends the instance by a trap. The flag stays
// readable, so that the caller can tell it from a fault.
void* operator new(std::size_t size) {
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  exhausted = true;
  __builtin_trap();
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto step = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(step, (size + step - 1) / step * step)) return memory;
  exhausted = true;
  __builtin_trap();
}

void operator delete(void* memory) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}

void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

// A failed check of the library is a trap too; its own handler would bring a whole stdio along.
_LIBCPP_BEGIN_NAMESPACE_STD
[[noreturn]] void __libcpp_verbose_abort(const char*, ...) noexcept {
  __builtin_trap();
}
_LIBCPP_END_NAMESPACE_STD

extern "C" {

// Memory for arguments; 0 when there is none.
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

}  // extern "C"
