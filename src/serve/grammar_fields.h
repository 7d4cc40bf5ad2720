// What an answer has to look like, out of the fields of a body: OpenAI's response_format, vLLM's
// structured_outputs and its older guided_*.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "serve/request_fields.h"
#include "text/grammar.h"

namespace weft::serve {

inline constexpr size_t kMostChoices = 4096;                            // of one guided_choice
inline constexpr std::string_view kResponseFormat = "response_format";  // the field's name

// None where an answer is free. RequestError where two of them are given. What is wrong inside a
// schema or a grammar is the compiler's to say (text/grammar.h). name: the field that asks for it;
// empty where none does.
std::optional<text::GrammarSpec> read_grammar(const Fields& fields, std::string* name);

}  // namespace weft::serve
