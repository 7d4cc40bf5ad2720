// One line of answers in OpenAI's batch output:
//
//   {"id":"weft-...","custom_id":"a","response":{"status_code":200,"request_id":"weft-...",
//    "body":{... a chat.completion or text_completion ...}},"error":null}
//
// A request that failed has the status and an error object as its body, and error.message besides.
#pragma once

#include <span>
#include <string>

#include "base/error.h"
#include "cli/request_line.h"
#include "engine/engine.h"

namespace weft::cli {

// What all answers of a run share: borrowed.
struct AnswerContext {
  const text::Tokenizer& tokenizer;
  std::string model, fingerprint;
};

// One prompt of a line and its answers. Borrowed.
struct AnsweredPrompt {
  std::span<const int32_t> prompt_ids;
  const engine::RequestState& state;
};

// prompts: all of the line, in its order; none failed.
std::string answer_line(const AnswerContext& context, const RequestLine& line,
                        std::span<const AnsweredPrompt> prompts);
// 400 for what the line's author can mend, 500 otherwise.
std::string failed_line(const AnswerContext& context, const RequestLine& line, const Error& error);

}  // namespace weft::cli
