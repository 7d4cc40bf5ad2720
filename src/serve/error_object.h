// The error object of the OpenAI API, which every refusal of the server is:
//   {"error":{"message":"...","type":"invalid_request_error","param":null,"code":null}}
#pragma once

#include <string>
#include <string_view>

#include "serve/exchange.h"

namespace weft::serve {

struct ErrorObject {
  int status = 400;
  std::string message;  // for a person; no paths and no addresses
  std::string type;     // empty: by the status ("invalid_request_error", "server_error", ...)
  std::string param;    // the field that is wrong; empty: null
  std::string code;     // "model_not_found"; empty: null
};

std::string error_json(const ErrorObject& error);
void respond_error(Exchange& exchange, const ErrorObject& error, HttpHeaders headers = {});

// Retry-After in whole seconds, at least 1, and retry-after-ms, which the OpenAI clients read
// first.
HttpHeaders retry_headers(double seconds);

}  // namespace weft::serve
