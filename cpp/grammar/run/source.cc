#include "grammar/run/source.h"

#include <algorithm>

#include "grammar/front/choice.h"
#include "grammar/front/ebnf.h"
#include "grammar/front/json_read.h"
#include "grammar/front/lark.h"
#include "grammar/front/regex.h"
#include "grammar/front/tag.h"

namespace treadle {

namespace {

void put(std::string& out, std::string_view text) {  // length first: no text can end its field
  out += std::to_string(text.size());
  out += ':';
  out += text;
}

std::string own_key(const Source& source) {
  std::string out;
  put(out, source_kind_name(source.kind));
  put(out, source.text);
  put(out, source.root);
  const SchemaOptions& schema = source.schema;
  put(out,
      std::to_string(schema.declared_order) + std::to_string(schema.lenient) +
          std::to_string(schema.assert_formats) + std::to_string(static_cast<int>(schema.escapes)) +
          std::to_string(static_cast<int>(schema.numbers)) + std::to_string(schema.whitespace));
  put(out, schema.at);
  out += schema.closed ? 'c' : 'o';
  out += schema.exact_formats ? 'e' : 's';
  out += schema.layout ? 'l' : 'f';
  if (schema.layout) {
    put(out, schema.layout->comma);
    put(out, schema.layout->colon);
    put(out, schema.layout->indent ? std::to_string(*schema.layout->indent) : "");
  }
  out += std::to_string(schema.resources.size());
  for (const auto& [uri, text] : schema.resources) {
    put(out, uri);
    put(out, text);
  }
  out += std::to_string(source.strings.size());
  for (const std::string& text : source.strings) put(out, text);
  out += std::to_string(source.parts.size());
  return out;
}

Result<NodeRef> build_tag(Store& store, const Source& source, const Limits& limits, Notes& notes,
                          RuleMarks* marks) {
  json::ReadLimits read{.bytes = limits.source_bytes, .depth = limits.source_depth};
  Result<json::Document> document = json::read(source.text, read);
  if (!document.ok()) return document.status();
  return parse_tag(store, document->root(), limits, notes, marks);
}

Result<NodeRef> build_lark(Store& store, const Source& source, const Limits& limits, Notes& notes,
                           RuleMarks* marks) {
  LarkOptions options;
  options.start = source.root;
  for (size_t i = 0; i + 1 < source.strings.size(); i += 2) {
    options.named.emplace_back(source.strings[i], source.strings[i + 1]);
  }
  return parse_lark(store, source.text, options, limits, notes, marks);
}

Result<NodeRef> build_leaf(Store& store, const Source& source, const Limits& limits, Notes& notes,
                           RuleMarks* marks) {
  if (source.text.size() > limits.source_bytes) {
    return limit_exceeded("source_bytes", static_cast<double>(source.text.size()),
                          static_cast<double>(limits.source_bytes));
  }
  switch (source.kind) {
    case SourceKind::schema:
      return parse_schema(store, source.text, source.schema, limits, notes);
    case SourceKind::json:
      return parse_schema(store, "true", source.schema, limits, notes);
    case SourceKind::json_object:
      return parse_json_object(store, source.schema, limits);
    case SourceKind::regex:
      return parse_regex(store, source.text, RegexOptions{}, limits);
    case SourceKind::ebnf:
      return parse_ebnf(store, source.text, source.root, limits, marks);
    case SourceKind::lark:
      return build_lark(store, source, limits, notes, marks);
    case SourceKind::choice:
      return parse_choice(store, source.strings, limits);
    case SourceKind::tag:
      return build_tag(store, source, limits, notes, marks);
    default:
      return store.bytes(source.text);
  }
}

}  // namespace

std::string_view source_kind_name(SourceKind kind) {
  switch (kind) {
    case SourceKind::schema:
      return "json_schema";
    case SourceKind::json:
      return "json";
    case SourceKind::json_object:
      return "json_object";
    case SourceKind::regex:
      return "regex";
    case SourceKind::ebnf:
      return "ebnf";
    case SourceKind::lark:
      return "lark";
    case SourceKind::choice:
      return "choice";
    case SourceKind::tag:
      return "structural_tag";
    case SourceKind::literal:
      return "literal";
    case SourceKind::concat:
      return "concat";
    case SourceKind::any_of:
      return "any_of";
  }
  return "grammar";
}

std::string Source::key() const {
  std::string out;
  std::vector<const Source*> stack{this};
  while (!stack.empty()) {  // preorder; each node says how many parts follow
    const Source* source = stack.back();
    stack.pop_back();
    out += own_key(*source);
    for (size_t i = source->parts.size(); i-- > 0;) stack.push_back(source->parts[i].get());
  }
  return out;
}

Result<SourceRef> join_sources(SourceKind kind, std::span<const SourceRef> parts,
                               const Limits& limits) {
  auto joined = std::make_shared<Source>();
  joined->kind = kind;
  for (const SourceRef& part : parts) {
    if (part->kind == kind) {
      joined->parts.insert(joined->parts.end(), part->parts.begin(), part->parts.end());
    } else {
      joined->parts.push_back(part);
    }
  }
  for (const SourceRef& part : joined->parts) {
    joined->depth = std::max(joined->depth, part->depth + 1);
  }
  if (joined->depth > limits.source_depth) {
    return limit_exceeded("source_depth", static_cast<double>(joined->depth),
                          static_cast<double>(limits.source_depth));
  }
  return SourceRef(std::move(joined));
}

// Postorder over the parts with a stack of our own: a + b + c + ... nests as deep as it is long.
Result<NodeRef> build_source(Store& store, const Source& source, const Limits& limits, Notes& notes,
                             RuleMarks* marks) {
  struct Frame {
    const Source* source;
    std::vector<NodeRef> built;
  };
  std::vector<Frame> stack;
  stack.push_back({&source, {}});
  for (;;) {
    Frame& frame = stack.back();
    if (frame.built.size() < frame.source->parts.size()) {
      const Source* next = frame.source->parts[frame.built.size()].get();
      stack.push_back({next, {}});
      continue;
    }
    NodeRef node = store.empty();
    if (frame.source->kind == SourceKind::concat) {
      node = store.concat(frame.built);
    } else if (frame.source->kind == SourceKind::any_of) {
      node = store.any_of(frame.built);
    } else {
      Result<NodeRef> leaf = build_leaf(store, *frame.source, limits, notes, marks);
      if (!leaf.ok()) return leaf;
      node = *leaf;
    }
    if (!store.ok()) return store.fault();
    stack.pop_back();
    if (!stack.empty()) {
      stack.back().built.push_back(node);
      continue;
    }
    // Captures are read off the text, in which a token terminal has no part.
    if (marks != nullptr && marks->captures && !store.token_sets().empty()) {
      return unsupported("", "captures beside token terminals are not supported; drop either",
                         "capture");
    }
    return node;
  }
}

}  // namespace treadle
