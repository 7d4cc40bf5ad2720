// What a request is about, out of the fields of its body: the messages of a chat, the prompts of a
// completion, the inputs of an embedding.
#pragma once

#include <vector>

#include "serve/request_body.h"

namespace weft::serve {

// The messages as a template is given them, with their contents as texts, and its variables.
void read_messages(const Fields& fields, const BodyLimits& limits, RequestBody* body);

// Field "truncate_prompt_tokens"; 0: it is not given.
int64_t read_truncation(const Fields& fields);

// Field "prompt": a text, a list of texts, token ids, or a list of those.
void read_prompts(const Fields& fields, const BodyLimits& limits, RequestBody* body);

// The same of any field.
std::vector<Prompt> prompts_of(const Fields& fields, const char* name, int64_t most);

}  // namespace weft::serve
