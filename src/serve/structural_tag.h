// Text with parts that follow a schema or another grammar: vLLM's structural_tag, in both forms
// that xgrammar gives it:
//
//   {"type": "structural_tag", "triggers": ["<function="],
//    "structures": [{"begin": "<function=f>", "schema": {...}, "end": "</function>"}]}
//   {"type": "structural_tag", "format": {"type": "triggered_tags", "triggers": ["<function="],
//    "tags": [{"begin": "<function=f>", "content": {"type": "json_schema", "json_schema": {...}},
//              "end": "</function>"}]}}
//
// Formats: const_string, json_schema, regex, grammar, any_text; sequence, or, optional, plus, star,
// repeat; tag, triggered_tags, tags_with_separator, dispatch; token; qwen_xml_parameter, an older
// name of json_schema in a style (serve/xml_parameters.h). Others are refused by name.
//
// Triggered tags: where the answer comes to a trigger it goes on as one of the tags that begin with
// it, and is free again behind that tag's end. Free text (any_text, triggered_tags) ends a
// sequence, or a tag, whose end it stops at. A const_string, trigger, begin or end of the form
// <|...|> is a special token; all others are text.
#pragma once

#include "serve/request_fields.h"
#include "text/grammar.h"

namespace weft::serve {

inline constexpr size_t kMostTags = 128;             // and elements of one list
inline constexpr int kMostFormatDepth = 16;          // formats inside each other
inline constexpr int64_t kMostFormatRepeats = 4096;  // of `repeat`, and characters of any_text

// RequestError for other formats, and for what is no such object; Error(kUsage) for what makes a
// longer grammar than is compiled.
text::GrammarSpec read_structural_tag(const Fields& fields);

}  // namespace weft::serve
