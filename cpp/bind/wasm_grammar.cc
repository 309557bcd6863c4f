// Grammars and compilers.
#include "bind/wasm_objects.h"
#include "bind/wasm_options.h"

namespace treadle::wasm {

namespace {

using ReadingPtr = std::unique_ptr<Reading>;
using CompilerPtr = std::unique_ptr<Compiler>;

Result<ReadingPtr> join(SourceKind kind, std::span<const uint32_t> handles) {
  std::vector<const Reading*> parts;
  for (Handle handle : handles) {
    ReadingPtr* part = module().table.get<ReadingPtr>(handle);
    if (!part) {
      return invalid_request("grammar",
                             "part " + std::to_string(parts.size()) + " is no grammar, or freed");
    }
    parts.push_back(part->get());
  }
  return join_readings(kind, parts);
}

Result<ReadingPtr> read(SourceKind kind, std::string_view text, std::string_view opts) {
  Result<Options> options = read_options(opts, kind);
  if (!options.ok()) return options.status();
  Source source;
  source.kind = kind;
  source.root = options->root;
  source.schema = options->schema;
  source.strings = options->named;
  if (kind == SourceKind::choice) {
    Result<std::vector<std::string>> strings = read_strings(text, options->limits);
    if (!strings.ok()) return strings.status();
    source.strings = strings.take();
  } else {
    source.text = text;
  }
  return read_source(std::move(source), options->limits);
}

std::string describe(const Reading& reading) {
  std::string out = "{\"kind\":";
  put_json(out, reading.kind());
  out += ",\"notes\":[";
  for (const Note& note : reading.notes) {
    if (out.back() != '[') out += ',';
    out += "{\"at\":";
    put_json(out, note.at);
    out += ",\"keyword\":";
    put_json(out, note.keyword);
    out += ",\"text\":";
    put_json(out, note.text);
    out += '}';
  }
  return out + "]}";
}

}  // namespace

extern "C" {

// A handle to the grammar that the text stands for. kind: a SourceKind. text: UTF-8 of schema,
// regex, ebnf, lark, tag; bytes of a literal; nothing for json and json_object; a JSON array of
// strings for choice; handles (u32) of grammars for concat and any_of. opts: see wasm_options.h.
__attribute__((export_name("tr_grammar"))) int32_t tr_grammar(uint32_t kind, uint32_t address,
                                                              uint32_t length, uint32_t opts,
                                                              uint32_t opts_length) {
  if (kind > static_cast<uint32_t>(SourceKind::any_of)) {
    return fail(invalid_request("kind", std::to_string(kind) + " is no kind of grammar"));
  }
  auto source = static_cast<SourceKind>(kind);
  auto text = bytes_at(address, length);
  auto options = bytes_at(opts, opts_length);
  if (!text || !options) return fail_address("grammar");
  Result<ReadingPtr> made = [&]() -> Result<ReadingPtr> {
    if (source < SourceKind::concat) return read(source, *text, *options);
    auto handles = words_at(address, length / 4);
    if (!handles) return invalid_request("grammar", "handles lie at a multiple of 4");
    return join(source, *handles);
  }();
  return made.ok() ? keep(made.take()) : fail(made.status(), source_kind_name(source));
}

// {kind, notes: [{at, keyword, text}]} as JSON; its length.
__attribute__((export_name("tr_grammar_info"))) int32_t tr_grammar_info(Handle grammar,
                                                                        uint32_t buffer,
                                                                        uint32_t capacity) {
  return with<ReadingPtr>(grammar, "grammar", [&](const ReadingPtr& self) {
    return copy_out(describe(*self), buffer, capacity);
  });
}

__attribute__((export_name("tr_grammar_free"))) int32_t tr_grammar_free(Handle grammar) {
  return drop<ReadingPtr>(grammar, "grammar");
}

// A handle to a compiler for a vocabulary. limits: a JSON object, or nothing.
__attribute__((export_name("tr_compiler"))) int32_t tr_compiler(Handle vocab, uint32_t limits,
                                                                uint32_t length) {
  return with<VocabRef>(vocab, "vocab", [&](const VocabRef& self) {
    auto text = bytes_at(limits, length);
    if (!text) return fail_address("limits");
    Result<Limits> read = read_limits(*text);
    return read.ok() ? keep(std::make_unique<Compiler>(self, *read)) : fail(read.status());
  });
}

// A handle to the compiled grammar; equal sources share their states and masks.
__attribute__((export_name("tr_compile"))) int32_t tr_compile(Handle compiler, Handle grammar) {
  return with<CompilerPtr>(compiler, "compiler", [&](CompilerPtr& self) {
    return with<ReadingPtr>(grammar, "grammar", [&](ReadingPtr& reading) {
      Result<CompiledRef> compiled = compile_reading(*self, *reading);
      return compiled.ok() ? keep(compiled.take()) : fail(compiled.status(), reading->kind());
    });
  });
}

// Bytes held by the cached grammars, about.
__attribute__((export_name("tr_compiler_memory"))) int32_t tr_compiler_memory(Handle compiler) {
  return with<CompilerPtr>(compiler, "compiler",
                           [](CompilerPtr& self) { return static_cast<int32_t>(self->memory()); });
}

// Forgets all cached grammars; those in use stay valid.
__attribute__((export_name("tr_compiler_clear"))) int32_t tr_compiler_clear(Handle compiler) {
  return with<CompilerPtr>(compiler, "compiler", [](CompilerPtr& self) {
    self->clear();
    return 0;
  });
}

__attribute__((export_name("tr_compiler_free"))) int32_t tr_compiler_free(Handle compiler) {
  return drop<CompilerPtr>(compiler, "compiler");
}

// Bytes held by nodes, states and masks, about.
__attribute__((export_name("tr_compiled_memory"))) int32_t tr_compiled_memory(Handle compiled) {
  return with<CompiledRef>(compiled, "compiled",
                           [](CompiledRef& self) { return static_cast<int32_t>(self->memory()); });
}

__attribute__((export_name("tr_compiled_free"))) int32_t tr_compiled_free(Handle compiled) {
  return drop<CompiledRef>(compiled, "compiled");
}

}  // extern "C"

}  // namespace treadle::wasm
