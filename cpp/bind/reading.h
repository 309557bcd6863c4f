// What both bindings do with a grammar: read it once, join it, print it, compile it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "grammar/ir/print.h"
#include "grammar/run/capture.h"
#include "grammar/run/compiler.h"

namespace treadle {

// A source that has been read, so that its errors are known where it was written. The store of
// that reading serves the first compile under the same limits.
struct Reading {
  SourceRef source;
  Limits limits;
  Notes notes;
  Parsed parsed;
  bool regions = false;                     // some rule has a token budget or a temperature
  std::shared_ptr<CaptureReader> captures;  // null: no rule has one

  std::string kind() const { return std::string(source_kind_name(source->kind)); }
};

inline Result<std::unique_ptr<Reading>> read_source(SourceRef source, const Limits& limits) {
  auto reading = std::make_unique<Reading>();
  reading->limits = limits;
  reading->parsed.store = std::make_unique<Store>(limits);
  RuleMarks marks;
  Result<NodeRef> root =
      build_source(*reading->parsed.store, *source, limits, reading->notes, &marks);
  if (!root.ok()) return root.status();
  reading->parsed.root = *root;
  reading->regions = marks.regions;
  if (marks.captures) reading->captures = std::make_shared<CaptureReader>(source, limits);
  reading->source = std::move(source);
  return reading;
}

inline Result<std::unique_ptr<Reading>> read_source(Source source, const Limits& limits) {
  return read_source(std::make_shared<const Source>(std::move(source)), limits);
}

// A concat or any_of; the limits are those of the first part.
inline Result<std::unique_ptr<Reading>> join_readings(SourceKind kind,
                                                      std::span<const Reading* const> parts) {
  auto reading = std::make_unique<Reading>();
  std::vector<SourceRef> sources;
  for (const Reading* part : parts) {
    sources.push_back(part->source);
    reading->notes.insert(reading->notes.end(), part->notes.begin(), part->notes.end());
  }
  if (!parts.empty()) reading->limits = parts.front()->limits;
  Result<SourceRef> joined = join_sources(kind, sources, reading->limits);
  if (!joined.ok()) return joined.status();
  reading->source = joined.take();
  bool captures = false;
  for (const Reading* part : parts) {
    reading->regions |= part->regions;
    captures |= part->captures != nullptr;
  }
  if (captures) {
    reading->captures = std::make_shared<CaptureReader>(reading->source, reading->limits);
  }
  return reading;
}

// EBNF. Read anew: compiling takes the store, and rewrites its rules.
inline Result<std::string> print_reading(const Reading& reading) {
  Store store(reading.limits);
  Notes notes;
  Result<NodeRef> root = build_source(store, *reading.source, reading.limits, notes);
  if (!root.ok()) return root.status();
  return print_ebnf(store, *root);
}

inline Result<CompiledRef> compile_reading(Compiler& compiler, Reading& reading) {
  Parsed parsed;
  if (reading.limits == compiler.limits()) parsed = std::move(reading.parsed);
  reading.parsed = Parsed{};
  return compiler.compile(*reading.source, std::move(parsed));
}

}  // namespace treadle
