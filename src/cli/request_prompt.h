// From a line of a file of prompts to what the engine is asked.
#pragma once

#include <vector>

#include "cli/request_line.h"
#include "engine/engine.h"

namespace weft::cli {

// One list a request of the line: its chat through the model's template (without one: the last
// message as plain text), or its prompts. Error(kModel) where the template refuses the
// conversation.
std::vector<std::vector<int32_t>> prompt_ids_of(const RequestLine& line,
                                                const engine::Engine& engine);

// max_tokens and min_tokens are cut to what the context leaves after the prompt (one token at
// least: the engine says what is wrong with a prompt that fills it).
engine::Request request_of(const RequestLine& line, const std::vector<int32_t>& prompt_ids,
                           const engine::Engine& engine);

}  // namespace weft::cli
