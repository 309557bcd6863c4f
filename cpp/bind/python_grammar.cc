#include "bind/python_grammar.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/python_error.h"
#include "bind/reading.h"
#include "grammar/run/matcher.h"
#include "grammar/run/serial.h"

namespace nb = nanobind;

namespace treadle {

namespace {

using Grammar = Reading;

std::unique_ptr<Grammar> make_grammar(SourceRef source, const Limits& limits) {
  std::string kind(source_kind_name(source->kind));
  auto grammar = [&] {
    nb::gil_scoped_release release;
    return read_source(std::move(source), limits);
  }();
  return unwrap(std::move(grammar), kind);
}

std::unique_ptr<Grammar> make_grammar(Source source, const Limits& limits) {
  return make_grammar(std::make_shared<const Source>(std::move(source)), limits);
}

// Any kind that is one text: regex, ebnf, tag, literal, and the JSON kinds.
std::unique_ptr<Grammar> from_text(SourceKind kind, const std::string& text,
                                   const std::string& root, const SchemaOptions& schema,
                                   const Limits& limits) {
  Source source;
  source.kind = kind;
  source.text = text;
  source.root = root;
  source.schema = schema;
  return make_grammar(std::move(source), limits);
}

std::unique_ptr<Grammar> join(SourceKind kind, const std::vector<const Grammar*>& parts) {
  return unwrap(join_readings(kind, parts));
}

std::string print(const Grammar& grammar) {
  Result<std::string> text = [&] {
    nb::gil_scoped_release release;
    return print_reading(grammar);
  }();
  return unwrap(std::move(text), grammar.kind());
}

CompiledRef compile(Compiler& compiler, Grammar& grammar) {
  Result<CompiledRef> compiled = [&] {
    nb::gil_scoped_release release;
    return compile_reading(compiler, grammar);
  }();
  return unwrap(std::move(compiled), grammar.kind());
}

void bind_limits(nb::module_& module) {
  nb::class_<Limits>(module, "Limits", "Budgets; the fields of treadle.limits.GrammarLimits.")
      .def(nb::init<>())
      .def_rw("source_bytes", &Limits::source_bytes)
      .def_rw("source_depth", &Limits::source_depth)
      .def_rw("regex_bytes", &Limits::regex_bytes)
      .def_rw("ir_nodes", &Limits::ir_nodes)
      .def_rw("derived_nodes", &Limits::derived_nodes)
      .def_rw("compile_fuel", &Limits::compile_fuel)
      .def_rw("step_fuel", &Limits::step_fuel)
      .def_rw("stack_depth", &Limits::stack_depth)
      .def_rw("branches", &Limits::branches)
      .def_rw("configs", &Limits::configs)
      .def_rw("number_digits", &Limits::number_digits)
      .def_rw("seen_values", &Limits::seen_values)
      .def_rw("whitespace", &Limits::whitespace)
      .def_rw("cache_bytes", &Limits::cache_bytes);
}

void bind_schema_options(nb::module_& module) {
  using Options = SchemaOptions;
  nb::class_<Options>(module, "SchemaOptions", "How JSON is written; see treadle.grammar.schema.")
      .def(nb::init<>())
      .def_rw("declared_order", &Options::declared_order)
      .def_rw("whitespace", &Options::whitespace)
      .def(
          "fix",
          [](Options& o, std::string comma, std::string colon, std::optional<uint32_t> indent) {
            o.layout = Layout{std::move(comma), std::move(colon), indent};
          },
          nb::arg("comma"), nb::arg("colon"), nb::arg("indent").none())
      .def_prop_rw(
          "minimal_escapes", [](const Options& o) { return o.escapes == Escapes::minimal; },
          [](Options& o, bool on) { o.escapes = on ? Escapes::minimal : Escapes::any; })
      .def_prop_rw(
          "plain_numbers", [](const Options& o) { return o.numbers == Spelling::plain; },
          [](Options& o, bool on) { o.numbers = on ? Spelling::plain : Spelling::any; })
      .def_rw("lenient", &Options::lenient)
      .def_rw("assert_formats", &Options::assert_formats)
      .def_rw("exact_formats", &Options::exact_formats)
      .def_rw("closed", &Options::closed)
      .def_rw("resources", &Options::resources)
      .def_rw("at", &Options::at);
}

void bind_schema_kinds(nb::class_<Grammar>& grammar) {
  auto bind_json = [&](const char* name, SourceKind kind) {
    grammar.def_static(
        name,
        [kind](const std::string& text, const SchemaOptions& options, const Limits& limits) {
          return from_text(kind, text, "", options, limits);
        },
        nb::arg("text"), nb::arg("options"), nb::arg("limits"));
  };
  bind_json("schema", SourceKind::schema);
  bind_json("json", SourceKind::json);
  bind_json("json_object", SourceKind::json_object);
}

void bind_text_kinds(nb::class_<Grammar>& grammar) {
  auto bind_one = [&](const char* name, SourceKind kind) {
    grammar.def_static(
        name,
        [kind](const std::string& text, const Limits& limits) {
          return from_text(kind, text, "", {}, limits);
        },
        nb::arg("text"), nb::arg("limits"));
  };
  bind_one("regex", SourceKind::regex);
  bind_one("tag", SourceKind::tag);
  grammar.def_static(
      "literal",
      [](const nb::bytes& text, const Limits& limits) {
        return from_text(SourceKind::literal, {text.c_str(), text.size()}, "", {}, limits);
      },
      nb::arg("text"), nb::arg("limits"));
  grammar.def_static(
      "ebnf",
      [](const std::string& text, const std::string& root, const Limits& limits) {
        return from_text(SourceKind::ebnf, text, root, {}, limits);
      },
      nb::arg("text"), nb::arg("root"), nb::arg("limits"));
  grammar.def_static(
      "lark",
      [](const std::string& text, const std::string& start, const std::vector<std::string>& named,
         const Limits& limits) {
        Source source;
        source.kind = SourceKind::lark;
        source.text = text;
        source.root = start;
        source.strings = named;
        return make_grammar(std::move(source), limits);
      },
      nb::arg("text"), nb::arg("start"), nb::arg("named"), nb::arg("limits"));
  grammar.def_static(
      "choice",
      [](const std::vector<std::string>& strings, const Limits& limits) {
        Source source;
        source.kind = SourceKind::choice;
        source.strings = strings;
        return make_grammar(std::move(source), limits);
      },
      nb::arg("strings"), nb::arg("limits"));
}

void bind_compiler(nb::module_& module) {
  nb::class_<Compiled>(module, "Compiled", "A grammar over one vocabulary; makes matchers.")
      .def(
          "matcher",
          [](CompiledRef self, const std::optional<std::vector<uint32_t>>& stop_tokens,
             const Grammar& grammar) {
            MatcherOptions options{grammar.regions, grammar.captures};
            const auto& stops = stop_tokens ? *stop_tokens : self->vocab().stop_ids();
            return unwrap(Matcher::make(self, stops, std::move(options)));
          },
          nb::arg("stop_tokens").none(), nb::arg("grammar"))
      .def_prop_ro("memory",
                   [](Compiled& self) {
                     nb::gil_scoped_release release;
                     Guard guard(self.lock);
                     return self.memory();
                   })
      .def_prop_ro("states", [](Compiled& self) {
        nb::gil_scoped_release release;
        Guard guard(self.lock);
        return self.states().size();
      });
  nb::class_<Compiler>(module, "Compiler", "Compiles grammars for a vocabulary; cached by content.")
      .def(nb::new_([](std::shared_ptr<Vocab> vocab, const Limits& limits) {
             return new Compiler(std::move(vocab), limits);
           }),
           nb::arg("vocab"), nb::arg("limits"))
      .def("compile", &compile, nb::arg("grammar"))
      .def("clear", &Compiler::clear, nb::call_guard<nb::gil_scoped_release>())
      .def(
          "recall",
          [](Compiler& self, const nb::bytes& block, const std::string& build) {
            std::string copy(block.c_str(), block.size());
            nb::gil_scoped_release release;
            return self.recall(std::move(copy), build);
          },
          nb::arg("block"), nb::arg("build"))
      .def(
          "remember",
          [](Compiler& self, const std::string& build, uint64_t most) {
            const std::string block = [&] {
              nb::gil_scoped_release release;
              return self.remember(build, most);
            }();
            return nb::bytes(block.data(), block.size());
          },
          nb::arg("build"), nb::arg("most"))
      .def_prop_ro("memory", &Compiler::memory, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("cached", &Compiler::cached, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace

void bind_grammar(nb::module_& module) {
  bind_limits(module);
  bind_schema_options(module);
  nb::class_<Grammar> grammar(module, "Grammar", "The description of a language.");
  bind_schema_kinds(grammar);
  bind_text_kinds(grammar);
  grammar
      .def_static(
          "concat",
          [](const std::vector<const Grammar*>& parts) { return join(SourceKind::concat, parts); })
      .def_static(
          "any_of",
          [](const std::vector<const Grammar*>& parts) { return join(SourceKind::any_of, parts); })
      .def_prop_ro("kind", [](const Grammar& self) { return self.kind(); })
      .def_prop_ro("key",
                   [](const Grammar& self) {
                     std::string key = self.source->key();
                     return nb::bytes(key.data(), key.size());
                   })
      .def("ebnf_text", &print)
      .def("dump", [](const Grammar& self) { return dump_grammar(*self.source); })
      .def(
          "dump_block",
          [](const Grammar& self, const Vocab& vocab) {
            std::string block = dump_block(*self.source, vocab.hash());
            return nb::bytes(block.data(), block.size());
          },
          nb::arg("vocab"))
      .def_static(
          "load",
          [](const std::string& text, const Limits& limits) {
            return make_grammar(unwrap(load_grammar(text, limits)), limits);
          },
          nb::arg("text"), nb::arg("limits"))
      .def_static(
          "load_block",
          [](const nb::bytes& block, const Vocab& vocab, const Limits& limits) {
            std::string_view view(block.c_str(), block.size());
            return make_grammar(unwrap(load_block(view, vocab.hash(), limits)), limits);
          },
          nb::arg("block"), nb::arg("vocab"), nb::arg("limits"))
      .def_prop_ro("notes", [](const Grammar& self) {
        std::vector<std::tuple<std::string, std::string, std::string>> notes;
        for (const Note& note : self.notes) notes.emplace_back(note.at, note.keyword, note.text);
        return notes;
      });
  bind_compiler(module);
}

}  // namespace treadle
