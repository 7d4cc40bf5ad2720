// Answers of /v1/responses: one object, or named events with a number each and no [DONE].
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "serve/answer_writer.h"
#include "serve/response_body.h"

namespace weft::serve {

// The response as JSON and the conversation up to its end, once it is complete. False where they
// are too large to be kept, which the response then says.
using KeepResponse = std::function<bool(const std::string& object, const std::string& messages)>;

// head: its id is the response's. What became of the head, the tokenizer and the body is read as
// long as the writer is used. keep: may be empty; must not throw.
std::unique_ptr<AnswerWriter> make_response_writer(const AnswerHead& head,
                                                   const AnswerFormat& format,
                                                   const text::AnswerFormat& parser,
                                                   ResponseRequest request, KeepResponse keep);

}  // namespace weft::serve
