#include "serve/error_object.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace weft::serve {
namespace {

const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

nlohmann::json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

}  // namespace

std::string error_json(const ErrorObject& error) {
  // A message may quote a request, which is not always UTF-8.
  constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
  return nlohmann::json{{"error",
                         {{"message", error.message},
                          {"type", error.type.empty() ? type_of(error.status) : error.type},
                          {"param", text_or_null(error.param)},
                          {"code", text_or_null(error.code)}}}}
      .dump(-1, ' ', false, kReplace);
}

void respond_error(Exchange& exchange, const ErrorObject& error, HttpHeaders headers) {
  // Where there is too much to do, or another server takes over, clients want to know when to ask
  // again.
  const bool passes = error.code == "overloaded" || error.code == "shutting_down";
  if (error.status == 503 && passes && headers.empty()) headers = retry_headers(1);
  exchange.respond(error.status, "application/json", error_json(error), std::move(headers));
}

HttpHeaders retry_headers(double seconds) {
  const double bounded = std::clamp(seconds, 0.001, 86'400.0);
  return {{"Retry-After", std::to_string(static_cast<int64_t>(std::ceil(bounded)))},
          {"retry-after-ms", std::to_string(static_cast<int64_t>(std::ceil(bounded * 1e3)))}};
}

}  // namespace weft::serve
