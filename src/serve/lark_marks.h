// Pieces of llguidance's Lark that grammars of answers share: texts, the marks of a vocabulary, and
// free text up to one.
#pragma once

#include <string>
#include <string_view>

#include "text/reasoning.h"
#include "text/text.h"

namespace weft::serve {

// "text", quoted: a string of JSON, but for DEL. The text is UTF-8.
std::string lark_literal(std::string_view text);

// A mark: a special token where the vocabulary has it as one ("<[151658]>"), else its letters.
std::string lark_mark(const text::Tokenizer& tokenizer, std::string_view mark);

// The definition of the rule `name`, a line: free text up to a mark, and the mark.
std::string lark_text_until(const text::Tokenizer& tokenizer, std::string_view mark,
                            std::string_view name);

// What stands around the grammar of an answer (text::GrammarSpec::frame) where a model reasons
// first: the answer is held to its grammar from where the reasoning has ended. opened: the prompt
// has begun it, so that it has to be ended; otherwise an answer without any is fine.
std::string reasoning_frame(text::ReasoningFormat format, bool opened,
                            const text::Tokenizer& tokenizer);

}  // namespace weft::serve
