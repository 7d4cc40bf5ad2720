// Calls that a request requires, as a grammar: in the model's own format, so that what it was
// trained on, what it is held to and what is read back (text/tool_calls.h) are the same.
#pragma once

#include <optional>

#include "serve/chat_tools.h"
#include "text/grammar.h"
#include "text/text.h"

namespace weft::serve {

// Answers with more calls than this are not enforced: a small model would go on for ever.
inline constexpr int kMostEnforcedCalls = 16;

// Of tool_choice "required" (one call, or several where `parallel` and the format allow it) and of
// a named tool (one call of it); with "auto" where a tool is strict and the format marks its calls
// (kHermes, kMistral, kMistralNamed): free text, but what begins like a call ends as one. None
// where nothing is enforced. The arguments follow the tool's schema; FunctionGemma's follow the
// names of its properties alone. What the model may think before is the caller's to allow
// (reasoning_frame).
// Error(kUsage) naming the field, where a schema cannot be written in the format.
std::optional<text::GrammarSpec> tool_grammar(const ChatTools& tools,
                                              const text::ChatProfile& profile,
                                              const text::Tokenizer& tokenizer);

}  // namespace weft::serve
