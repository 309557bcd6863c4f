// What kills an untrusted process is written down before it dies: a write to its read-only inputs,
// another bad address, or a system call that its filter forbids.
#pragma once

#include <cstddef>
#include <cstdint>

#include "timer/word.h"

namespace treadle {

enum class Fault : uint64_t { none, input_written, address, system_call, arithmetic };

// Installs handlers that post the fault and its detail (offset, address or call number), then end
// the process with status 70. `inputs` is the read-only range; both words must outlive the process.
// False where a handler cannot be installed. At most one guard a process.
bool guard(Word& fault, Word& detail, const void* inputs, size_t size);

}  // namespace treadle
