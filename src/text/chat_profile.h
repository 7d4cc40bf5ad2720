// What a model's chat template can render, found out by asking it: templates differ in more ways
// than their text tells, so each feature is rendered once, with words that are looked for in the
// result.
#pragma once

#include <optional>

#include "text/reasoning.h"
#include "text/text.h"
#include "text/tool_calls.h"

namespace weft::text {

struct ChatProfile {
  bool takes_system = false;  // else system messages have to go into the first user message
  bool takes_tools = false;   // it tells the model of the variable `tools`
  bool takes_calls = false;   // it renders tool_calls of an assistant and messages of role "tool"
  // Ids of calls have to be 9 letters and digits (Mistral).
  bool wants_short_ids = false;
  // How the model writes calls: what its template renders, and Hermes' format where it renders
  // none, since then a system message has to explain one. None: a format that is not known here.
  std::optional<ToolFormat> tools;
  std::optional<ReasoningFormat> reasoning;  // by the marks in its vocabulary
};

// chat: may be null (no template).
ChatProfile probe_chat(const ChatTemplate* chat, const Tokenizer& tokenizer);

// Whether answers have to be detokenised with special tokens, so that the marks of calls and
// reasoning are seen.
bool needs_special_tokens(const ChatProfile& profile, const Tokenizer& tokenizer);

}  // namespace weft::text
