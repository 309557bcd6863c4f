// Grammars as text.
#include "bind/wasm_objects.h"

namespace treadle::wasm {

using ReadingPtr = std::unique_ptr<Reading>;

extern "C" {

// EBNF that parses back to the same language; its length. JSON values have none.
__attribute__((export_name("tr_grammar_ebnf"))) int32_t tr_grammar_ebnf(Handle grammar,
                                                                        uint32_t buffer,
                                                                        uint32_t capacity) {
  return with<ReadingPtr>(grammar, "grammar", [&](const ReadingPtr& self) {
    Result<std::string> text = print_reading(*self);
    return text.ok() ? copy_out(*text, buffer, capacity) : fail(text.status(), self->kind());
  });
}

}  // extern "C"

}  // namespace treadle::wasm
