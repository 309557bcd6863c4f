// Meta-schemas of the caller: which vocabularies of JSON Schema a document is written in.
#pragma once

#include "grammar/front/schema_source.h"

namespace treadle::schema {

// Reads what `$schema` names: the dialect, and the vocabularies that a meta-schema among
// `options.resources` leaves out; one with the assertion of formats asks for it. An unknown
// dialect, and a required vocabulary that is unknown, is refused, or with `lenient` read as 2020-12
// with older spellings. Source: JSON Schema 2020-12, Core 8.1.
Status read_dialect(Source& source, const Limits& limits);

// The vocabulary that a keyword belongs to, as a bit of Source::left_out; 0: one that always holds.
uint8_t vocabulary_of(Keyword keyword);

}  // namespace treadle::schema
