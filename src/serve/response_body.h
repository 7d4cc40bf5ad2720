// The body of POST /v1/responses (https://platform.openai.com/docs/api-reference/responses), turned
// into the body of a chat, so that one reader and one validator serve both.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "serve/error_object.h"

namespace weft::serve {

struct ResponseRequest {
  std::string chat_body;            // JSON, as of POST /v1/chat/completions
  nlohmann::ordered_json terms;     // what the response repeats of its request
  nlohmann::ordered_json messages;  // the conversation without instructions, as chat messages
  nlohmann::ordered_json input;     // the input as a list of items
  bool store = true;
};

// The messages up to the end of a stored response; none where there is no such response.
using FindConversation = std::function<std::optional<std::string>(const std::string& id)>;

// body_json: as of parse_json (serve/request_fields.h). Error(kUsage) that begins with the field;
// RequestError(404) for a previous response that is not there. Fields that are unknown here reach
// the chat's reader as they are.
ResponseRequest read_response(std::string_view body_json, const FindConversation& find);

// What a refusal says of the chat's fields, with the names that they have in a response.
void retell_of_response(ErrorObject* error);

}  // namespace weft::serve
