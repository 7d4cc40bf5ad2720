// Free text with parts that follow a schema: vLLM's structural_tag, in both forms that xgrammar
// gives it:
//
//   {"type": "structural_tag", "triggers": ["<function="],
//    "structures": [{"begin": "<function=f>", "schema": {...}, "end": "</function>"}]}
//   {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<function="],
//    "tags": [{"begin": "<function=f>", "content": {"type": "json_schema", "json_schema": {...}},
//              "end": "</function>"}]}}
//
// Where the answer comes to a trigger it goes on as one of the tags that begin with it, and is free
// again behind that tag's end. A trigger or an end of the form <|...|> is a special token; all
// others are text.
#pragma once

#include "serve/request_fields.h"
#include "text/grammar.h"

namespace weft::serve {

inline constexpr size_t kMostTags = 128;

// RequestError for other formats, and for what is no such object.
text::GrammarSpec read_structural_tag(const Fields& fields);

}  // namespace weft::serve
