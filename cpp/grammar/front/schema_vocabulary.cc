#include "grammar/front/schema_vocabulary.h"

#include <array>
#include <string>
#include <utility>

#include "grammar/front/schema_index.h"

namespace treadle::schema {
namespace {

enum Vocabulary : uint8_t {
  kApplicator = 1,
  kValidation = 2,
  kUnevaluated = 4,
  kFormats = 8,
  kOther = 16
};

constexpr std::array<std::pair<std::string_view, Vocabulary>, 9> kVocabularies = {{
    {"applicator", kApplicator},
    {"validation", kValidation},
    {"unevaluated", kUnevaluated},
    {"core", kOther},
    {"content", kOther},
    {"format", kOther},
    {"format-annotation", kOther},
    {"format-assertion", kFormats},
    {"meta-data", kOther},
}};

uint8_t vocabulary_bit(std::string_view uri, Dialect dialect) {
  const std::string_view home = dialect == Dialect::draft2019
                                    ? "https://json-schema.org/draft/2019-09/vocab/"
                                    : "https://json-schema.org/draft/2020-12/vocab/";
  if (!uri.starts_with(home)) return 0;
  uri.remove_prefix(home.size());
  for (const auto& [name, bit] : kVocabularies) {
    if (name == uri) return bit;
  }
  return 0;
}

Status refused(const Source& source, json::Value place, std::string text) {
  return unsupported(source.pointer(place), std::move(text), "$schema");
}

Status read_meta(Source& source, json::Value place, std::string_view text, const Limits& limits) {
  const Result<json::Document> meta = json::read(
      text, {static_cast<size_t>(limits.source_bytes), static_cast<size_t>(limits.source_depth)});
  if (!meta) return meta.status();
  const json::Value root = meta->root();
  bool known = false;
  if (const json::Value uri = root.is_object() ? root.get("$schema") : json::Value();
      uri && uri.is_string()) {
    source.dialect = dialect_of(uri.text(), known);
  }
  if (!known) {
    return refused(source, place, "the `$schema` of this meta-schema is no known dialect");
  }
  const json::Value vocabularies = root.get("$vocabulary");
  if (source.dialect < Dialect::draft2019 || !vocabularies || !vocabularies.is_object()) {
    return ok_status();
  }
  uint8_t found = source.dialect == Dialect::draft2019 ? kUnevaluated : 0;  // with the applicators
  for (const json::Value vocabulary : vocabularies) {
    const uint8_t bit = vocabulary_bit(vocabulary.key(), source.dialect);
    found |= bit;
    if (bit == 0 && vocabulary.is_boolean() && vocabulary.truth()) {
      return refused(source, place,
                     "this meta-schema requires the unknown vocabulary \"" +
                         std::string(vocabulary.key().substr(0, 80)) + "\"");
    }
  }
  if (found & kFormats) source.options.assert_formats = true;
  source.left_out = (kApplicator | kValidation | kUnevaluated) & ~found;
  return ok_status();
}

}  // namespace

Status read_dialect(Source& source, const Limits& limits) {
  const json::Value named = source.root().get("$schema");
  if (!named || !named.is_string()) return ok_status();
  bool known = false;
  source.dialect = dialect_of(named.text(), known);
  if (known) return ok_status();
  const std::string uri = resolve_uri("", named.text());
  for (const auto& [name, text] : source.options.resources) {
    if (resolve_uri("", name) == uri) return read_meta(source, named, text, limits);
  }
  if (source.options.lenient) return ok_status();
  return refused(source, named,
                 "unknown dialect; name one of drafts 4 to 2020-12, give its meta-schema as one of "
                 "`resources`, or leave the keyword out");
}

uint8_t vocabulary_of(Keyword keyword) {
  switch (keyword) {
    case Keyword::enum_:
    case Keyword::const_:
    case Keyword::type:
    case Keyword::minimum:
    case Keyword::maximum:
    case Keyword::exclusive_minimum:
    case Keyword::exclusive_maximum:
    case Keyword::multiple_of:
    case Keyword::min_length:
    case Keyword::max_length:
    case Keyword::pattern:
    case Keyword::min_items:
    case Keyword::max_items:
    case Keyword::unique_items:
    case Keyword::min_contains:
    case Keyword::max_contains:
    case Keyword::min_properties:
    case Keyword::max_properties:
    case Keyword::required:
    case Keyword::dependent_required:
      return kValidation;
    case Keyword::all_of:
    case Keyword::any_of:
    case Keyword::one_of:
    case Keyword::not_:
    case Keyword::if_:
    case Keyword::then_:
    case Keyword::else_:
    case Keyword::dependent_schemas:
    case Keyword::dependencies:
    case Keyword::properties:
    case Keyword::pattern_properties:
    case Keyword::additional_properties:
    case Keyword::property_names:
    case Keyword::items:
    case Keyword::prefix_items:
    case Keyword::additional_items:
    case Keyword::contains:
      return kApplicator;
    case Keyword::unevaluated_items:
    case Keyword::unevaluated_properties:
      return kUnevaluated;
    default:
      return 0;
  }
}

}  // namespace treadle::schema
