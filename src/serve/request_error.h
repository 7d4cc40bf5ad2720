// What is wrong with a request, as the error object of OpenAI's API tells it
// (serve/error_object.h): with the field and a code. Messages name fields and numbers, never paths
// or addresses: what went wrong inside is for the log.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "serve/error_object.h"

namespace weft::serve {

// A mistake in a request, with the field that holds it.
class RequestError : public Error {
 public:
  struct Details {
    std::string param;  // "messages[0].role"; empty: none
    std::string code = "invalid_value";
    int status = 400;
    std::string why = {};
  };
  RequestError(std::string_view what, Details details);

  const std::string& param() const { return details_.param; }
  const std::string& code() const { return details_.code; }
  int status() const { return details_.status; }

 private:
  Details details_;
};

// Of a refusal, and of what an engine says of a request. body: the request's, or null: where a
// refusal names no field of its own, the first field of the body that its words name is it.
ErrorObject error_object(const Error& error, const nlohmann::json* body = nullptr);
// Of an exception that nobody expected.
ErrorObject internal_error();

}  // namespace weft::serve
